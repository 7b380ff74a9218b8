"""Which types `fit`, `predict` and `datasets.arrays` accept: try every type and make the table.

`python tests/input_types.py` rewrites the tables of docs/howto/data.md; a test fails if they are
out of date. A type counts as "read" only if the resulting values equal those of a plain array.
"""

from __future__ import annotations

import re
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import evoprune as ep

PAGE = Path(__file__).resolve().parents[1] / "docs" / "howto" / "data.md"
ROWS, FEATURES = 12, 3
NEEDED = ("pandas", "polars", "xarray", "torch", "scipy", "pyarrow")

X = np.random.default_rng(0).integers(0, 100, (ROWS, FEATURES)).astype(np.float64)
BITS = X % 2
LABELS = np.array([0, 1, 2, 0, 1, 2, 2, 1, 0, 0, 1, 2])
NAMES = np.array(["low", "mid", "high"])[LABELS]
CLASSES = ("low", "mid", "high")


class Case(NamedTuple):
    """A type of inputs or targets: its name, a function that makes it, the expected values."""

    name: str
    make: Callable[[], Any]
    values: Any
    classes: tuple[str, ...] | None = None  # names of the classes of targets


def memmap() -> np.memmap:
    file = Path(tempfile.mkdtemp()) / "x.npy"
    np.save(file, X)
    return np.load(file, mmap_mode="r")


def input_cases() -> list[Case]:
    import pandas as pd
    import polars as pl
    import scipy.sparse
    import torch
    import xarray

    columns = list("abc")
    frame = pd.DataFrame(X, columns=columns)
    mixed = frame.assign(b=BITS[:, 1].astype(bool), c=X[:, 2].astype(int))
    partly = np.c_[X[:, 0], BITS[:, 1], X[:, 2]]
    hole = frame.convert_dtypes()
    hole.loc[4, "b"] = pd.NA
    lacking = X.copy()
    lacking[4, 1] = np.nan
    kinds = ["f2", "f4", "f8", "g", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]
    masked = np.ma.masked_array(X, np.zeros_like(X, bool))
    hidden = masked.copy()
    hidden[4, 1] = np.ma.masked

    def dtype(kind: str) -> Case:
        name = np.dtype(kind).name.replace("longdouble", "float128")
        return Case(f"NumPy {name}", lambda: X.astype(kind), X)

    return [
        Case("list of lists", X.tolist, X),
        Case("tuple of tuples", lambda: tuple(map(tuple, X.tolist())), X),
        Case("list of arrays", lambda: list(X), X),
        *map(dtype, kinds),
        Case("NumPy bool", lambda: BITS.astype(bool), BITS),
        Case("NumPy, other byte order", lambda: X.astype(">f8"), X),
        Case("NumPy, Fortran order", lambda: np.asfortranarray(X), X),
        Case("NumPy, every second row", lambda: np.repeat(X, 2, 0)[::2], X),
        Case("NumPy, objects that are numbers", lambda: X.astype(object), X),
        Case("NumPy, read-only memory map", memmap, X),
        Case("NumPy, masked, nothing hidden", lambda: masked, X),
        Case("NumPy, masked, a value hidden", lambda: hidden, X),
        Case("NumPy, NaN among the values", lambda: lacking, lacking),
        Case("NumPy complex128", lambda: X.astype(complex), X),
        Case("NumPy text", lambda: X.astype(str), X),
        Case("NumPy dates", lambda: X.astype("M8[s]"), X),
        Case("pandas frame", lambda: frame, X),
        Case("pandas frame, float, bool and int columns", lambda: mixed, partly),
        Case("pandas frame, nullable columns", mixed.convert_dtypes, partly),
        Case("pandas frame, a value missing (NA)", lambda: hole, lacking),
        Case(
            "pandas frame, Arrow columns",
            lambda: mixed.convert_dtypes(dtype_backend="pyarrow"),
            partly,
        ),
        Case("pandas frame, sparse columns", lambda: frame.astype(pd.SparseDtype("f8", 0)), X),
        Case("pandas frame, a text column", lambda: frame.assign(b=NAMES), X),
        Case("polars frame", lambda: pl.DataFrame(X, schema=columns), X),
        Case("polars frame, float, bool and int columns", lambda: pl.from_pandas(mixed), partly),
        Case("xarray array", lambda: xarray.DataArray(X), X),
        Case("torch tensor", lambda: torch.from_numpy(X.copy()), X),
        Case("torch tensor with gradient", lambda: torch.from_numpy(X.copy()).requires_grad_(), X),
        Case("torch bfloat16", lambda: torch.from_numpy(X.copy()).bfloat16(), X),
        Case("DLPack only", lambda: DLPack(X.copy()), X),
        Case("scipy sparse matrix", lambda: scipy.sparse.csr_matrix(X), X),
        Case("scipy sparse array", lambda: scipy.sparse.coo_array(X), X),
        Case("rows of different lengths", lambda: [[1.0, 2.0], [1.0]], X),
    ]


class DLPack:
    """An array of another library that only supports DLPack."""

    def __init__(self, array: Any) -> None:
        self._array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()


def target_cases() -> list[Case]:
    import pandas as pd
    import polars as pl
    import scipy.sparse
    import torch

    ordered = pd.Categorical(NAMES, categories=CLASSES, ordered=True)
    alphabet = ("high", "low", "mid")
    by_name = np.searchsorted(alphabet, NAMES)
    none, nan = list(NAMES), LABELS.astype(float)
    none[4], nan[4] = None, np.nan
    hole = pd.Series(NAMES).astype("string").where(np.arange(ROWS) != 4)
    kinds = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]
    return [
        Case("list of whole numbers", LABELS.tolist, LABELS),
        *(
            Case(f"NumPy {np.dtype(k).name}", lambda k=k: LABELS.astype(k), LABELS) for k in kinds
        ),
        Case("NumPy, other byte order", lambda: LABELS.astype(">i4"), LABELS),
        Case("NumPy, one column", lambda: LABELS[:, None], LABELS),
        Case("floats that are whole numbers", lambda: LABELS.astype(float), LABELS),
        Case("floats that are not", lambda: LABELS + 0.5, LABELS),
        Case("rows of zeros and a one", lambda: np.eye(3)[LABELS], LABELS),
        Case("rows of probabilities", lambda: np.full((ROWS, 3), 1 / 3), LABELS),
        Case("bool", lambda: LABELS == 1, LABELS == 1, ("False", "True")),
        Case("list of text", NAMES.tolist, by_name, alphabet),
        Case("NumPy text", lambda: NAMES, by_name, alphabet),
        Case("NumPy bytes", lambda: NAMES.astype("S4"), by_name, alphabet),
        Case("text that is whole numbers", lambda: (LABELS * 5).astype(str), LABELS,
             ("0", "5", "10")),
        Case("text and numbers mixed", lambda: ["low", 1, *NAMES[2:]], by_name),
        Case("text, one missing (None)", lambda: none, by_name),
        Case("floats, one missing (NaN)", lambda: nan, LABELS),
        Case("pandas series", lambda: pd.Series(LABELS), LABELS),
        Case("pandas nullable Int64", lambda: pd.Series(LABELS, dtype="Int64"), LABELS),
        Case("pandas boolean", lambda: pd.Series(LABELS == 1, dtype="boolean"), LABELS == 1,
             ("False", "True")),
        Case("pandas text", lambda: pd.Series(NAMES), by_name, alphabet),
        Case("pandas text, one missing (NA)", lambda: hole, by_name),
        Case("pandas categorical, in its order", lambda: pd.Series(ordered), LABELS, CLASSES),
        Case("pandas Categorical, no series", lambda: ordered, LABELS, CLASSES),
        Case("pandas categorical, one missing",
             lambda: pd.Series(ordered).where(np.arange(ROWS) != 4), LABELS),
        Case("pandas sparse", lambda: pd.Series(LABELS, dtype=pd.SparseDtype("i8", 0)), LABELS),
        Case("polars series", lambda: pl.Series(LABELS), LABELS),
        Case("polars text", lambda: pl.Series(NAMES.tolist()), by_name, alphabet),
        Case("polars Enum, in its order",
             lambda: pl.Series(NAMES.tolist(), dtype=pl.Enum(CLASSES)), LABELS, CLASSES),
        Case("polars Categorical",
             lambda: pl.Series(NAMES.tolist(), dtype=pl.Categorical), by_name, alphabet),
        Case("torch tensor", lambda: torch.from_numpy(LABELS.copy()), LABELS),
        Case("scipy sparse matrix", lambda: scipy.sparse.csr_matrix(LABELS), LABELS),
    ]  # fmt: skip


def network() -> ep.Network:
    return ep.mlp(FEATURES, 8, 3, seed=3)


def fitted(x: Any, y: Any) -> ep.Network:
    """Return a network trained on x and y for two epochs."""
    net = network()
    ep.Trainer(net, selection=None).fit(x, y, epochs=2, batch_size=5, progress=False)
    return net


def same(one: ep.Network, other: ep.Network) -> bool:
    return all(np.array_equal(one[name], other[name]) for name in one)


def outcome(call: Callable[[], bool]) -> str:
    """Return "read" if the call returns True, "wrong" if False, or the text of its error."""
    try:
        return "read" if call() else "wrong"
    except (TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


def input_outcomes(case: Case) -> list[str]:
    """Return the outcomes of predict(x), fit(x, y) and arrays(x, y)."""
    plain = np.asarray(case.values, np.float64)
    net = network()
    return [
        outcome(lambda: np.array_equal(net.predict(case.make()), net.predict(plain))),
        outcome(lambda: same(fitted(case.make(), LABELS), fitted(plain, LABELS))),
        outcome(
            lambda: np.array_equal(ep.datasets.arrays(case.make(), LABELS).x, plain, equal_nan=True)
        ),
    ]


def target_outcomes(case: Case) -> list[str]:
    """Return the outcomes of fit(x, y) and arrays(x, y) for class labels y."""
    codes = np.asarray(case.values, np.int64)

    def by_fit() -> bool:
        net = fitted(X, case.make())
        return same(net, fitted(X, codes)) and net.classes == case.classes

    def by_arrays() -> bool:
        data = ep.datasets.arrays(X, case.make(), classes=case.classes)
        net = network()
        ep.Trainer(net, selection=None).fit(data, epochs=2, batch_size=5, progress=False)
        return same(net, fitted(X, codes))

    return [outcome(by_fit), outcome(by_arrays)]


def cell(text: str) -> str:
    """Return an outcome as the text of a table cell."""
    if text == "read":
        return "yes"
    return "`" + text.replace("|", "\\|") + "`"


def table(head: tuple[str, ...], cases: list[Case], tried: Callable[[Case], list[str]]) -> str:
    """Return a Markdown table; an error that is the same in a whole row appears once."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for case in cases:
        results = tried(case)
        if len(set(results)) == 1 and results[0] != "read":
            results = [results[0], *["the same"] * (len(results) - 1)]
            cells = [cell(results[0]), *results[1:]]
        else:
            cells = [cell(text) for text in results]
        lines.append(f"| {case.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def tables() -> dict[str, str]:
    """Return the tables of docs/howto/data.md, by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "inputs": table(
                ("x", "`predict(x)`", "`fit(x, y)`", "`datasets.arrays(x, y)`"),
                input_cases(),
                input_outcomes,
            ),
            "targets": table(
                ("y", "`fit(x, y)`", "`datasets.arrays(x, y)`"), target_cases(), target_outcomes
            ),
        }


def filled(page: str) -> str:
    """Return the page with new tables."""
    for name, text in tables().items():
        begin, end = f"<!-- {name}: made by tests/input_types.py -->", f"<!-- end of {name} -->"
        pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.S)
        assert pattern.search(page), f"{PAGE}: no place for {name}"
        page = pattern.sub(lambda _, b=begin, e=end, t=text: f"{b}\n\n{t}\n\n{e}", page)
    return page


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
    sys.stdout.write(f"{PAGE}\n")
