"""Serialize a history: an .npz file of plain arrays, fully checked before any of it is used.

The same validator checks what is written and what is read, so that every saved file can be loaded
and an inconsistent one is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from evoprune.common.archive import pack, unpack
from evoprune.common.errors import FileFormatError
from evoprune.common.types import Array
from evoprune.records import former

if TYPE_CHECKING:
    from evoprune.records.history import History

__all__ = ["BIRTH", "EXTINCTION", "check", "from_bytes", "to_bytes"]

EXTINCTION = np.dtype(
    [
        ("step", "i8"),
        ("epoch", "f8"),
        ("layer", "U40"),
        ("birth", "i4"),
        ("mass", "f8"),
        ("fitness", "f8"),
        ("loss_before", "f8"),
        ("loss_after", "f8"),
    ]
)
"""One row of `History.extinctions`."""

BIRTH = np.dtype(
    [
        ("step", "i8"),
        ("epoch", "f8"),
        ("layer", "U40"),
        ("birth", "i4"),
        ("parent", "i4"),
        ("mass", "f8"),
        ("fitness", "f8"),
    ]
)
"""One row of `History.births`."""

FORMAT, VERSION = "evoprune history", 1
COLUMN = "epochs."
QUANTITIES = ("mass", "fitness", "upkeep")
PARTS = ("meta", "steps", "batches", "extinctions", *QUANTITIES)
OPTIONAL = ("births", "returns")  # arrays that are written unless empty
COUNTS = ("per_epoch", "record_every", "thinned")
MOST = 2**62  # limit for counts: the sum of two fits in int64
PEOPLE = 1 << 24  # limit for populations in a file without records: its size does not limit them


def to_bytes(history: History) -> bytes:
    """Return the content of the file that `History.save` writes.

    Raises:
        TypeError, ValueError: the history has values, set by hand, that cannot be saved.
    """
    names = ("layers", "born", *COUNTS, "settings", "interrupted")
    meta = {name: getattr(history, name) for name in names}
    meta |= {"format": FORMAT, "version": VERSION}
    arrays = {COLUMN + name: history[name] for name in history}
    arrays |= {quantity: history.trajectories(quantity) for quantity in QUANTITIES}  # type: ignore[arg-type]
    arrays |= {
        "meta": np.array(json.dumps(meta)),
        "steps": history.record_steps,
        "batches": history.batches,
        "extinctions": history.extinctions,
    }
    arrays |= {name: getattr(history, name) for name in OPTIONAL if len(getattr(history, name))}
    check(arrays)
    return pack(arrays)


def birth_rows(births: Array, layers: Sequence[str], start: int, per_epoch: float) -> Array:
    """Return births as reported by the core as rows of `History.births`; see `add_deaths`."""
    rows = np.zeros(len(births), BIRTH)
    rows["step"] = births["step"] - start
    rows["epoch"] = rows["step"] / per_epoch
    rows["layer"] = np.array(layers)[births["population"]]
    for name in ("birth", "parent", "mass", "fitness"):
        rows[name] = births[name]
    return rows


def from_bytes(history: type[History], content: bytes, name: str) -> History:
    """Return the history in the content of a file.

    Args:
        history: the class of the history to return.
        content: content of the file.
        name: name of the file, for error messages.

    Raises:
        FileFormatError: the file is damaged, inconsistent, or has another format.
    """
    try:
        arrays = unpack(content)
    except ValueError as error:
        raise FileFormatError(f"{name}: not a complete .npz file ({error})") from error
    try:
        return _filled(history, check(arrays), arrays)
    except (KeyError, ValueError, TypeError, RecursionError, OverflowError, IndexError) as error:
        raise FileFormatError(f"{name}: not a history of evoprune ({error})") from error


def _filled(kind: type[History], meta: dict[str, Any], arrays: Mapping[str, Array]) -> History:
    made = kind(
        meta["layers"],
        meta["born"],
        per_epoch=meta["per_epoch"],
        record_every=meta["record_every"],
        settings=meta["settings"],
    )
    columns = {
        former.COLUMNS.get(name := key.removeprefix(COLUMN), name): column.tolist()
        for key, column in arrays.items()
        if key.startswith(COLUMN)
    }
    batches = arrays["batches"]
    if len(batches) == 3:  # older files: the weight is the number of predictions
        batches = batches[[0, 1, 2, 2]]
    made.fill(
        columns=columns,
        steps=arrays["steps"].tolist(),
        records={quantity: list(arrays[quantity].copy()) for quantity in QUANTITIES},
        batches=batches.copy(),
        extinctions=arrays["extinctions"].copy(),
        **{name: np.array(arrays.get(name, np.empty(0, BIRTH))) for name in OPTIONAL},
    )
    made.interrupted, made.thinned = meta["interrupted"], meta["thinned"]
    return made


# ---- the validator -------------------------------------------------------------------------------


def check(arrays: Mapping[str, Array]) -> dict[str, Any]:
    """Check that the arrays of a history are consistent; return its `meta`.

    Raises:
        ValueError: they are not consistent; the message names the array and says what was expected.
        TypeError: a value in `meta` has a wrong type.
    """
    missing = [name for name in PARTS if name not in arrays]
    known = (*PARTS, *OPTIONAL)
    unknown = [name for name in arrays if name not in known and not name.startswith(COLUMN)]
    if missing or unknown:
        what = f"{missing[0]} is missing" if missing else f"{unknown[0]!r} is unknown"
        raise ValueError(what)
    meta = _meta(arrays["meta"])
    _columns({k: a for k, a in arrays.items() if k.startswith(COLUMN)})
    born = dict(zip(meta["layers"], meta["born"], strict=True))
    if "returns" in arrays:
        _returns(arrays["returns"], born)
    if "births" in arrays:
        _births(arrays["births"], born)
    _records(arrays, sum(born.values()))
    batches = arrays["batches"]
    _expect("batches", batches.ndim == 2 and batches.dtype == np.float64, "float64 (4, steps)")
    _expect("batches", len(batches) in (3, 4), "4 rows")
    _extinctions(arrays["extinctions"], born)
    return meta


def _expect(name: str, good: bool, wanted: str) -> None:
    if not good:
        raise ValueError(f"{name}: expected {wanted}")


def _meta(text: Array) -> dict[str, Any]:
    _expect("meta", text.ndim == 0 and text.dtype.kind == "U", "a text")
    meta: Any = json.loads(str(text))
    _expect("meta", isinstance(meta, dict) and meta.get("format") == FORMAT, "that of a history")
    if meta.get("version") != VERSION:
        raise ValueError(f"version: expected {VERSION}, got {meta.get('version')!r}")
    for name in COUNTS:
        least = 0 if name == "thinned" else 1
        _expect(name, type(meta[name]) is int and least <= meta[name] < MOST, "a count")
    layers, born = meta["layers"], meta["born"]
    _expect("layers", isinstance(layers, list | tuple), "a list")
    _expect("layers", all(isinstance(n, str) and 0 < len(n) <= 40 for n in layers), "names")
    _expect("layers", len(set(layers)) == len(layers), "different names")
    _expect("born", isinstance(born, list | tuple) and len(born) == len(layers), "one per layer")
    _expect("born", all(type(n) is int and 1 <= n < 2**31 for n in born), "counts")
    _expect("settings", isinstance(meta["settings"], dict), "a dict")
    _expect("interrupted", isinstance(meta["interrupted"], bool), "true or false")
    return dict(meta)


def _columns(columns: Mapping[str, Array]) -> None:
    lengths = set()
    for name, column in columns.items():
        _expect(name, column.ndim == 1 and column.dtype == np.float64, "float64 (epochs,)")
        lengths.add(len(column))
    _expect("epochs", len(lengths) <= 1, "columns of one length")
    if columns:
        for name in ("epoch", "loss"):
            _expect("epochs", COLUMN + name in columns, f"a column {name}")
        epoch = columns[f"{COLUMN}epoch"]
        _expect("epochs.epoch", bool(np.isfinite(epoch).all()), "finite numbers")
        _expect("epochs.epoch", bool((np.diff(epoch) > 0).all()), "ascending numbers")


def _records(arrays: Mapping[str, Array], people: int) -> None:
    steps = arrays["steps"]
    _expect("steps", steps.ndim == 1 and steps.dtype == np.int64, "int64 (records,)")
    numbers = steps.tolist()
    _expect("steps", all(0 <= n < MOST for n in numbers), "step counts")
    _expect("steps", all(a < b for a, b in pairwise(numbers)), "ascending step counts")
    _expect("born", bool(numbers) or people <= PEOPLE, f"records of at most {PEOPLE:,} populations")
    for name in QUANTITIES:
        array = arrays[name]
        good = array.dtype == np.float32 and array.shape == (len(numbers), people)
        _expect(name, good, f"float32 {(len(numbers), people)}, got {array.dtype} {array.shape}")
    mass = arrays["mass"]
    _expect("mass", bool((np.isnan(mass) | (np.isfinite(mass) & (mass >= 0))).all()), "masses")


def _births(rows: Array, born: dict[str, int]) -> None:
    """Check births, and add the number of births in each layer to `born`, in place."""
    _expect("births", rows.ndim == 1 and rows.dtype == BIRTH, f"rows of {BIRTH}")
    step = rows["step"]
    _expect("births", bool(((step >= 0) & (step < MOST)).all()), "step counts")
    for layer in np.unique(rows["layer"]).tolist():
        _expect("births", layer in born, f"layers out of {', '.join(born) or 'none'}")
        own = rows[rows["layer"] == layer]
        ids = np.arange(born[layer], born[layer] + len(own))
        _expect("births", bool((own["birth"] == ids).all()), "birth ids in order, none twice")
        parent = own["parent"]
        _expect("births", bool(((parent >= -1) & (parent < ids)).all()), "parents born before")
        born[layer] += len(own)


def _returns(rows: Array, born: Mapping[str, int]) -> None:
    """Check returns of founders; `born` has the number of founders of each layer."""
    _expect("returns", rows.ndim == 1 and rows.dtype == BIRTH, f"rows of {BIRTH}")
    step = rows["step"]
    _expect("returns", bool(((step >= 0) & (step < MOST)).all()), "step counts")
    for layer in np.unique(rows["layer"]).tolist():
        _expect("returns", layer in born, f"layers out of {', '.join(born) or 'none'}")
        ids = rows["birth"][rows["layer"] == layer]
        _expect("returns", bool(((ids >= 0) & (ids < born[layer])).all()), "ids of founders")


def _extinctions(rows: Array, born: Mapping[str, int]) -> None:
    _expect("extinctions", rows.ndim == 1 and rows.dtype == EXTINCTION, f"rows of {EXTINCTION}")
    for layer in np.unique(rows["layer"]).tolist():
        _expect("extinctions", layer in born, f"layers out of {', '.join(born) or 'none'}")
        birth = rows["birth"][rows["layer"] == layer]
        _expect("extinctions", bool(((birth >= 0) & (birth < born[layer])).all()), "birth ids")
    step = rows["step"]
    _expect("extinctions", bool(((step >= 0) & (step < MOST)).all()), "step counts")
