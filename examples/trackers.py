"""Log a run to TensorBoard and a CSV file, and print when populations become extinct."""

import csv
from pathlib import Path

import evoprune as ep

train, test = ep.datasets.mnist()
selection = ep.Selection(pressure=1.5, dynamics=ep.Malthusian(lifespan=60), min_age=20)
trainer = ep.Trainer(ep.mlp(784, 128, 10), selection=selection)
first = []
trainer.fit(
    train.subset(slice(6000)),
    epochs=4,
    validation_data=test.subset(slice(1000)),
    callbacks=[
        ep.TensorBoard("logs/first"),
        ep.CSVLogger("run.csv"),
        ep.LambdaCallback(on_extinction=lambda trainer, deaths: first.extend(deaths["step"])),
    ],
    progress=False,
)
rows = list(csv.DictReader(Path("run.csv").read_text().splitlines()))
print(f"first extinction at step {min(first)}, {rows[-1]['alive']} alive at the end")
print(f"tensorboard --logdir logs shows {len(list(Path('logs').rglob('events*')))} run")
