"""Data sets: MNIST comes with the package, others are read from files or from arrays.

Most functions return a pair (train, test) of `Dataset` objects, both with the normalization of the
training set.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING

from evoprune.data.csvfile import csv
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

if _TYPE_CHECKING:
    from evoprune.bridges.fetch import fetch as fetch

__all__ = [
    "Dataset",
    "Text",
    "arrays",
    "cifar10",
    "csv",
    "digits",
    "fashion_mnist",
    "idx",
    "mnist",
    "read_idx",
    "text",
]


def __getattr__(name: str) -> object:
    if name != "fetch":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _import_module("evoprune.bridges.fetch").fetch
