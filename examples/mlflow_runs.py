"""Log runs at two pressures to a folder of MLflow, and look up the smaller network."""

import os

os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"  # log to a folder, not to a server or database

import mlflow

import evoprune as ep

train, test = ep.datasets.mnist()
for pressure in (1.0, 2.0):
    selection = ep.Selection(pressure, dynamics=ep.Malthusian(lifespan=30), min_age=10)
    trainer = ep.Trainer(ep.mlp(784, 64, 10, seed=0), selection=selection)
    tracker = ep.MLflow("pressures", run_name=f"pressure {pressure:g}", tracking_uri="file:mlruns")
    trainer.fit(
        train.subset(slice(4000)),
        epochs=4,
        validation_data=test.subset(slice(1000)),
        callbacks=tracker,
        progress=False,
    )

client = mlflow.MlflowClient("file:mlruns")
experiment = client.get_experiment_by_name("pressures")
best, other = client.search_runs(experiment.experiment_id, order_by=["metrics.alive"])
for run in (best, other):
    metrics = run.data.metrics
    print(f"{run.info.run_name}: {metrics['alive']:.0f} of 64 alive, "
          f"accuracy {metrics['validation_accuracy']:.1%}, {run.info.status}")  # fmt: skip
print("mlflow ui --backend-store-uri file:mlruns shows them")
