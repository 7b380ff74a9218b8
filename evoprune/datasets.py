"""Data sets: MNIST comes with the package, others are read from files or from arrays.

Each function gives `Dataset` objects, mostly a pair (train, test), with the normalization of the
training set for both.
"""

from evoprune.data.sources import (
    Dataset,
    Text,
    arrays,
    cifar10,
    digits,
    fashion_mnist,
    idx,
    mnist,
    read_idx,
    text,
)

__all__ = [
    "Dataset",
    "Text",
    "arrays",
    "cifar10",
    "digits",
    "fashion_mnist",
    "idx",
    "mnist",
    "read_idx",
    "text",
]
