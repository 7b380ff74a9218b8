"""Train on a CSV file whose last column is the label, and predict the labels of new rows."""

import csv
from pathlib import Path

import numpy as np

import evoprune as ep

random = np.random.default_rng(0)
points = random.normal(size=(600, 8))
with Path("points.csv").open("w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow([*(f"x{i}" for i in range(8)), "side"])
    for point in points:
        writer.writerow([*point, "left" if point[0] + abs(point[1]) < 1 else "right"])

data = ep.datasets.csv("points.csv", "side")
train, test = data.split(0.25, seed=0)
selection = ep.Selection(dynamics=ep.Malthusian(lifespan=60), min_age=20)
trainer = ep.Trainer(ep.mlp(8, 64, 2, seed=0), selection=selection)
trainer.fit(train, epochs=60, batch_size=32, validation_data=test, progress=False)
network = trainer.network
print(f"{sum(network.alive.values())} of 64 neurons, {network.evaluate(test)}")
print(network.predict_classes(points[:3], names=True))
