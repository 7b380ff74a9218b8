"""Log a run to Weights & Biases without an internet connection; `wandb sync` sends it later."""

from pathlib import Path

import evoprune as ep

train, test = ep.datasets.mnist()
selection = ep.Selection(pressure=1.5, dynamics=ep.Malthusian(lifespan=30), min_age=10)
trainer = ep.Trainer(ep.mlp(784, 64, 10, seed=0), selection=selection)
tracker = ep.WandB("pressures", name="1.5", mode="offline", tags=["mnist"])
trainer.fit(
    train.subset(slice(4000)),
    epochs=4,
    validation_data=test.subset(slice(1000)),
    metrics=["f1"],
    callbacks=tracker,
    progress=False,
)
(folder,) = Path("wandb").glob("offline-run-*")
print(f"{sum(trainer.network.alive.values())} of 64 alive; config: {dict(tracker.run.config)}")
print(f"send it by: wandb sync {folder}")
