"""Invalid arguments: huge, negative, empty, of wrong types, with unusual layouts."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

HUGE = [2**31 - 1, 2**31, 2**32, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30, 10**400]
INTS = [0, 1, -1, 2, 3, 7, 64, 255, 256, 1000, -(2**31), -(2**63), -(2**63) - 1, *HUGE]
FLOATS = [0.0, -0.0, 0.5, 1.0, -1.0, 1e-320, 1e-45, 1e30, 3.5e38, 1e300, -1e300, 1.7e308]
ODD = [float("nan"), float("inf"), float("-inf")]
TEXTS = ["", "x", "a" * 5000, "\0", "dense\0", "\ud800", "é", "{epoch}", "../..", "%s%n", "input"]
DTYPES = ["f4", "f8", ">f4", ">f8", "f2", "u1", "i1", ">i2", "i4", "i8", ">i8", "u8", "?"]
WRONG_DTYPES = ["c8", "c16", "O", "S3", "U4", "M8[s]", "m8[s]", "V8", "g", [("a", "f4")]]
MEMORY = Path(tempfile.gettempdir())


def nested(depth: int) -> list[Any]:
    """Return a list of lists, `depth` levels deep."""
    made: list[Any] = []
    for _ in range(depth):
        made = [made]
    return made


def circle() -> list[Any]:
    """Return a list that contains itself."""
    made: list[Any] = []
    made.append(made)
    return made


def scalar(random: Random) -> Any:
    """Return a number, or an object similar to a number."""
    match random.randrange(9):
        case 0 | 1:
            return random.choice(INTS)
        case 2 | 3:
            return random.choice(FLOATS)
        case 4:
            return random.choice(ODD)
        case 5:
            return random.choice([True, False, None, 1j, b"1", "1", Ellipsis, NotImplemented])
        case 6:
            kind = random.choice([np.float32, np.float64, np.int8, np.uint64, np.bool_, np.float16])
            return kind(random.choice([0, 1, 3]))
        case 7:
            return np.array(random.choice([0.0, 3, -1, np.nan]))
        case _:
            return random.randrange(-3, 40)


def array(random: Random, shape: tuple[int, ...] | None = None) -> Any:
    """Return an array of the given shape, or of a random one, with any type and layout."""
    if shape is None:
        shape = tuple(random.choice([0, 1, 2, 3, 6, 24]) for _ in range(random.randrange(4)))
    dtype = random.choice(DTYPES if random.random() < 0.8 else WRONG_DTYPES)
    base = np.random.default_rng(random.randrange(2**32)).normal(0, 2, shape)
    with np.errstate(all="ignore"):
        try:
            made = base.astype(dtype)
        except (TypeError, ValueError):
            made = np.zeros(shape, dtype)
    return laid_out(random, spoiled(random, made) if random.random() < 0.3 else made)


def spoiled(random: Random, values: np.ndarray) -> np.ndarray:
    """Return a copy of an array with an unusual or invalid value at one place."""
    values = np.array(values)
    if values.size and values.dtype.kind in "fiu":
        odd = random.choice([np.nan, np.inf, -np.inf, 1e30, -1.0, 0.5])
        if values.dtype.kind in "iu":
            odd = random.choice([np.iinfo(values.dtype).max, np.iinfo(values.dtype).min, 3])
        with np.errstate(all="ignore"):
            values.flat[random.randrange(values.size)] = odd
    return values


def laid_out(random: Random, values: np.ndarray) -> Any:
    """Return the same values in another layout: strided, reversed, Fortran, read-only, ..."""
    match random.randrange(11):
        case 0 if values.ndim:
            return np.repeat(values, 2, axis=-1)[..., ::2]
        case 1 if values.ndim:
            return values[::-1].copy()[::-1]
        case 2:
            return np.asfortranarray(values)
        case 3:
            values = values.copy()
            values.flags.writeable = False
        case 4 if values.dtype.kind in "fiu":
            raw = np.zeros(values.nbytes + 1, np.uint8)[1:]
            shifted = raw.view(values.dtype).reshape(values.shape)
            shifted[...] = values
            return shifted
        case 5 if values.dtype.kind in "fiu":
            return values.astype(values.dtype.newbyteorder())
        case 6:
            return values.tolist()
        case 7:
            return memoryview(values) if values.dtype.kind in "fiu" else values
        case 8 if values.ndim and len(values):
            return np.broadcast_to(values[:1], values.shape)
        case 9:
            return values.view(np.matrix) if values.ndim == 2 else np.ma.masked_array(values)
        case _:
            pass
    return values


def anything(random: Random) -> Any:
    """Return an argument of any kind."""
    match random.randrange(12):
        case 0 | 1 | 2 | 3:
            return scalar(random)
        case 4 | 5 | 6:
            return array(random)
        case 7:
            return random.choice(TEXTS)
        case 8:
            return random.choice(
                [[], {}, (), set(), {"a": 1}, [1, 2], [[1], [1, 2]], ["a"], [None]]
            )
        case 9:
            return random.choice([object(), int, len, lambda *a, **k: 0, iter([1]), range(3)])
        case 10:
            return nested(100) if random.random() < 0.5 else circle()
        case _:
            return {random.choice(TEXTS): scalar(random) for _ in range(2)}


def show(value: Any, depth: int = 0) -> str:
    """Return a short description of an argument; never runs code of the argument."""
    kind = type(value)
    if depth > 3:
        return "..."
    if kind is np.ndarray:
        few = f" {value.ravel()[:6].tolist()}" if value.dtype.kind in "fiub" else ""
        return f"<{value.dtype.str} {value.shape} strides {value.strides}{few}>"
    if kind in (int, float, bool, type(None), complex, bytes):
        return repr(value) if kind is not int or abs(value) < 10**40 else "<int 10**40 or more>"
    if kind is str:
        return repr(value if len(value) < 60 else value[:20] + "...")
    if kind in (list, tuple):
        return f"[{', '.join(show(v, depth + 1) for v in value[:8])}]"
    if kind is dict:
        items = list(dict.items(value))[:12]
        return "{" + ", ".join(f"{show(k)}: {show(v, depth + 1)}" for k, v in items) + "}"
    if isinstance(value, np.generic):
        return f"{kind.__name__}({value})"
    inner = getattr(value, "value", None) if kind.__module__.endswith("evil") else None
    return f"<{kind.__name__}{'' if inner is None else ' ' + show(inner, depth + 1)}>"
