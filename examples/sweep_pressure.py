"""Train at three pressures and two seeds, two runs at a time; a second call repeats no run."""

import evoprune as ep


def make(*, seed, pressure):
    """Return a trainer and the arguments of its fit."""
    train, test = ep.datasets.mnist()
    selection = ep.Selection(pressure=pressure, dynamics=ep.Malthusian(lifespan=30), min_age=10)
    trainer = ep.Trainer(ep.mlp(784, 64, 10, seed=seed), selection=selection)
    data = train.subset(slice(4000))
    return trainer, {"data": data, "epochs": 4, "validation_data": test.subset(slice(1000))}


if __name__ == "__main__":
    table = ep.sweep(make, {"pressure": [0.5, 1.0, 2.0]}, seeds=2, n_jobs=2, folder="pressures")
    columns = ["validation_accuracy", "alive", "macs"]
    print(table.groupby("pressure")[columns].mean())
