"""Download a data set once and train on it.

The argument is a name such as fashion_mnist, or the number of a data set of OpenML. Without an
internet connection, the script prints which files are missing and trains on generated data.
"""

import sys

import numpy as np

import evoprune as ep

wanted = sys.argv[1] if len(sys.argv) > 1 else "fashion_mnist"
try:
    train, test = ep.datasets.fetch(int(wanted) if wanted.isdigit() else wanted)
except ConnectionError as error:
    print(error)
    x = np.random.default_rng(0).normal(size=(3000, 20))
    y = (x[:, 0] * x[:, 1] > 0) + (x[:, 2] > 0)
    train, test = ep.datasets.arrays(x, y, name="generated").split(0.2)
print(f"{train.name}: {len(train):,} and {len(test):,} samples of {train.shape}")
network = ep.mlp(train.features, 128, len(train.classes))
trainer = ep.Trainer(network, optimizer=ep.AdamW(2e-3))
rows = slice(min(6000, len(train)))
trainer.fit(train.subset(rows), epochs=10, validation_data=test, progress=False)
print(f"{sum(network.alive.values())} of 128 neurons alive, {network.evaluate(test)}")
