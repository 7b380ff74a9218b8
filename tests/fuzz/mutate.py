"""Broken files made from valid ones: by changing bytes, or values of the format."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any

import numpy as np

NEST = "@nest@"  # replaced by 50,000 brackets, which json.dumps cannot write
WORDS: list[Any] = [None, True, -1, 0, 1, 2, 1.5, 0.1, -0.5, 1e308, float("nan"), float("inf")]
WORDS += [2**31 - 1, 2**31, 2**63, 10**30, "", "x", "a" * 3000, "\0", [], {}, [[]], [1, 2, 3]]
WORDS += [{"a": 1}, NEST, "F64", "BOOL", "dense", "input", 10**4, 10**5, 10**9]


# ---- bytes ---------------------------------------------------------------------------------------


def by_bytes(random: Random, content: bytes) -> tuple[bytes, str]:
    """Flip, cut, insert, repeat or overwrite bytes."""
    data, n = bytearray(content), len(content)
    at = random.randrange(n + 1)
    if random.random() < 0.5:
        at = min(at, random.randrange(1, 400))  # headers are at the beginning
    size = random.choice([1, 2, 4, 8, 64, 1000])
    match random.randrange(8):
        case 0 | 1:
            flips = [random.randrange(8 * max(1, n)) for _ in range(random.choice([1, 1, 2, 8]))]
            for bit in flips:
                if n:
                    data[bit // 8] ^= 1 << bit % 8
            return bytes(data), f"bits {flips} flipped"
        case 2:
            return bytes(data[:at]), f"cut after {at}"
        case 3:
            del data[at : at + size]
            return bytes(data), f"{size} bytes from {at} on deleted"
        case 4:
            data[at:at] = random.randbytes(size)
            return bytes(data), f"{size} bytes inserted at {at}"
        case 5:
            data[at:at] = data[at : at + size]
            return bytes(data), f"{size} bytes repeated at {at}"
        case 6:
            data[at : at + size] = random.choice([b"\0", b"\xff", b"\x7f", b"\x80"]) * size
            return bytes(data), f"{size} bytes overwritten at {at}"
    return bytes(data) + random.randbytes(size), f"{size} bytes appended"


# ---- JSON ----------------------------------------------------------------------------------------


def by_json(random: Random, value: Any, depth: int = 0) -> Any:
    """Return a tree of JSON values with a change at one place."""
    if isinstance(value, dict) and value and (depth == 0 or random.random() < 0.85):
        key = random.choice(list(value))
        match random.randrange(8):
            case 0:
                return {k: v for k, v in value.items() if k != key}
            case 1:
                return value | {random.choice(["x", "", key + "2"]): random.choice(WORDS)}
            case 2:
                other = random.choice(list(value))
                return value | {key: value[other], other: value[key]}
        return value | {key: by_json(random, value[key], depth + 1)}
    if isinstance(value, list) and value and random.random() < 0.85:
        at = random.randrange(len(value))
        match random.randrange(6):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return [*value, random.choice([*WORDS, value[at]])]
            case 2:
                return value[::-1]
        return [*value[:at], by_json(random, value[at], depth + 1), *value[at + 1 :]]
    if isinstance(value, int | float) and not isinstance(value, bool) and random.random() < 0.4:
        return value + random.choice([1, -1, 0.5, 10**6, -value, value])
    return random.choice(WORDS)


def written(value: Any) -> str:
    """Return a value as JSON, with brackets nested 50,000 deep in place of each NEST."""
    return json.dumps(value).replace(f'"{NEST}"', "[" * 50_000 + "]" * 50_000)


def by_header(random: Random, content: bytes) -> tuple[bytes, str]:
    """Change the header of a safetensors file: its table, or the JSON in its metadata."""
    (size,) = struct.unpack("<Q", content[:8])
    header, rest = json.loads(content[8 : 8 + size]), content[8 + size :]
    told = "the table"
    if random.random() < 0.7:
        texts = header["__metadata__"]
        told = random.choice([k for k in texts for _ in range(4 if k in ("spec", "facts") else 1)])
        try:
            texts[told] = written(by_json(random, json.loads(texts[told])))
        except ValueError:  # not JSON: a plain text
            texts[told] = random.choice(["", "x", "float64", "[", "1e999"])
    else:
        header = by_json(random, header)
    text = written(header).encode(errors="surrogatepass")
    length = len(text) if random.random() < 0.97 else random.choice([0, 1, 2**40, 2**63, 2**64 - 1])
    return struct.pack("<Q", length) + text + rest, f"header: {told}"


def by_tensor(random: Random, content: bytes) -> tuple[bytes, str]:
    """Change values of one array of a safetensors file."""
    from safetensors.numpy import load, save

    (size,) = struct.unpack("<Q", content[:8])
    texts = json.loads(content[8 : 8 + size])["__metadata__"]
    arrays = load(content)
    # Choose masses and flags more often: they have the largest effect, but few arrays hold them.
    telling = ("mass", "alive", "variance", "state", "fitness", "history", "shift", "scale")
    names = [n for n in sorted(arrays) for _ in range(5 if n.endswith(telling) else 1)]
    name = random.choice(names)
    arrays[name], told = by_values(random, arrays[name])
    content = save({k: np.ascontiguousarray(v) for k, v in arrays.items()}, texts)
    # The safetensors library writes metadata in random order; sort the header, so that a seed
    # always gives the same file.
    (size,) = struct.unpack("<Q", content[:8])
    header = json.dumps(json.loads(content[8 : 8 + size]), sort_keys=True).encode()
    return struct.pack("<Q", len(header)) + header + content[8 + size :], f"{name}: {told}"


def by_values(random: Random, array: np.ndarray) -> tuple[np.ndarray, str]:
    """Change values, type or shape of an array."""
    array = np.array(array)
    odd = random.choice([np.nan, np.inf, -np.inf, -1.0, 0.5, 0.0, 1e30, 3e38, 2.0, 1e9, -(2.0**31)])
    match random.randrange(7):
        case 0:
            return array[:-1] if array.ndim else array, "shorter"
        case 1:
            return array.reshape(-1), "flat"
        case 2:
            kinds = ["f8", "f4", "i4", "u1", "?", "f2", "i8"]
            with np.errstate(all="ignore"):
                try:
                    return array.astype(kind := random.choice(kinds)), f"as {kind}"
                except (TypeError, ValueError):
                    return np.zeros(3), "zeros"
        case _:
            if array.dtype.names:
                field = random.choice(array.dtype.names)
                if array.size:
                    at = random.randrange(array.size)
                    if array[field].dtype.kind == "U":
                        array[field][at] = random.choice(["", "nothing"])
                    else:
                        array[field][at] = np.nan_to_num(odd).clip(-(2**31), 2**31 - 1)
                return array, f"{field} {odd}"
            if array.size and array.dtype.kind in "fiu":
                with np.errstate(all="ignore"):
                    at = random.randrange(array.size)
                    array.reshape(-1)[at] = np.array(odd).astype(array.dtype)
            return array, f"{odd} at a place"


# ---- npz -----------------------------------------------------------------------------------------


def by_arrays(random: Random, content: bytes) -> tuple[bytes, str]:
    """Change, drop, add or rename an array of an .npz file."""
    with np.load(io.BytesIO(content)) as file:
        arrays = dict(file)
    name = random.choice(list(arrays))
    told = "values"
    match random.randrange(8):
        case 0:
            del arrays[name]
            told = "dropped"
        case 1:
            arrays[name + "2"] = arrays.pop(name)
            told = "renamed"
        case 2:
            arrays["epochs.new"] = np.zeros(random.choice([0, 1, 7]))
            told = "one more"
        case 3 | 4 if "meta" in arrays:
            name = "meta"
            arrays["meta"] = np.array(written(by_json(random, json.loads(str(arrays["meta"])))))
        case 5:
            other = random.choice(list(arrays))
            arrays[name], arrays[other] = arrays[other], arrays[name]
            told = f"swapped with {other}"
        case _:
            arrays[name], told = by_values(random, arrays[name])
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue(), f"{name}: {told}"


HEADS = [
    "{'descr': '<f8', 'fortran_order': False, 'shape': (100000000000,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (3,), }",
    "{'descr': '<f8', 'fortran_order': 3, 'shape': (), }",
    "{'descr': '<U1000000000', 'fortran_order': False, 'shape': (1,), }",
    "{'descr': [('a', '<f8', (1000, 1000, 1000))], 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '<f8', 'fortran_order': False, 'shape': (2**62,), }",
    "{" * 500,
    "(" * 3000,
    "",
]


def by_member(random: Random, content: bytes) -> tuple[bytes, str]:
    """Replace one member of a zip: another .npy header, junk, or a zip bomb."""
    old = zipfile.ZipFile(io.BytesIO(content))
    names = old.namelist()
    name, told = random.choice(names), "junk"
    parts = {n: old.read(n) for n in names}
    match random.randrange(8):
        case 0 if random.random() < 0.1:
            parts[name], told = _zeros(), "400 MB of zeros"
        case 0 | 1:
            parts[name] = random.randbytes(100)
        case 2 | 3:
            parts[name], told = by_bytes(random, parts[name])
        case _:
            text = random.choice(HEADS).encode().ljust(118 if random.random() < 0.8 else 0) + b"\n"
            parts[name] = b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text + bytes(64)
            told = f"header {text[:60]!r}"
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        for n, part in parts.items():
            new.writestr(zipfile.ZipInfo(n), part, zipfile.ZIP_DEFLATED)  # with a fixed date
    return made.getvalue(), f"{name}: {told}"


@cache
def _zeros() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(50_000_000))
    return file.getvalue()


# ---- idx -----------------------------------------------------------------------------------------


def by_dimensions(random: Random, content: bytes) -> tuple[bytes, str]:
    """Change type, rank or one size in the header of an idx file."""
    data = bytearray(content)
    at = random.choice([0, 1, 2, 3, 4])
    if at < 4:
        data[at] = random.choice([0, 1, 2, 3, 8, 9, 13, 14, 200, 255])
        return bytes(data), f"byte {at} is {data[at]}"
    size = random.choice([0, 1, 2, 2**16, 2**31, 2**32 - 1])
    at = 4 + 4 * random.randrange(max(1, data[3]))
    data[at : at + 4] = struct.pack(">I", size)
    return bytes(data), f"size {size} at {at}"


def packed(change: Callable[[Random, bytes], tuple[bytes, str]]) -> Any:
    """Return a function that applies `change` to the content of a gzip file."""

    def inside(random: Random, content: bytes) -> tuple[bytes, str]:
        new, told = change(random, gzip.decompress(content))
        made = gzip.compress(new, 1, mtime=0)
        return made * 2 if random.random() < 0.05 else made, f"inside: {told}"

    return inside


def gzip_bomb(random: Random, content: bytes) -> tuple[bytes, str]:
    """Mutate bytes of a gzip file, or add far more data than its idx header states."""
    if random.random() < 0.9:
        return by_bytes(random, content)
    return _bomb(gzip.decompress(content)), "400 MB of zeros at the end"


@cache
def _bomb(head: bytes) -> bytes:
    return gzip.compress(head + bytes(400_000_000), 1, mtime=0)


def by_text(random: Random, content: bytes) -> tuple[bytes, str]:
    """Insert unusual characters into a text, or return only such characters."""
    odd = [b"\xff", b"\xed\xa0\x80", b"\0", "\u202e\u0301".encode(), b"\xef\xbb\xbf", b"\r\n", b""]
    odd += ["".join(map(chr, range(32, 1000))).encode(), "\U0010ffff".encode(), b"a" * 3]
    part = random.choice(odd)
    at = random.randrange(len(content))
    if random.random() < 0.2:
        return part, f"only {part[:9]!r}"
    return content[:at] + part + content[at:], f"{part[:9]!r} at {at}"
