"""Tune the pressure with Optuna, in two processes that share one journal."""

import subprocess
import sys

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

import evoprune as ep


def objective(trial):
    train, test = ep.datasets.mnist()
    pressure = trial.suggest_float("pressure", 0.2, 2.0, log=True)
    selection = ep.Selection(pressure=pressure, dynamics=ep.Malthusian(lifespan=20), min_age=10)
    trainer = ep.Trainer(ep.mlp(784, 64, 10, seed=trial.number), selection=selection)
    pruning = ep.OptunaPruning(trial)
    trainer.fit(
        train.subset(slice(4000)),
        epochs=4,
        validation_data=test.subset(slice(1000)),
        callbacks=[pruning],
        progress=False,
    )
    pruning.check()
    trial.set_user_attr("alive", sum(trainer.network.alive.values()))
    return trainer.history["validation_loss"][-1]


def work():
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend("journal.log")),
        study_name="pressure",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=2),
    )
    study.optimize(objective, n_trials=3)
    return study


if __name__ == "__main__":
    if sys.argv[1:] == ["worker"]:
        work()
    else:
        other = subprocess.Popen([sys.executable, __file__, "worker"])
        study = work()
        other.wait()
        best = study.best_trial
        print(f"{len(study.trials)} trials; best pressure {best.params['pressure']:.2f}:")
        print(f"validation loss {best.value:.3f}, {best.user_attrs['alive']} of 64 alive")
