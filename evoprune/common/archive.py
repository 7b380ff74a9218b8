"""Convert named plain arrays to .npz bytes and back, in memory bounded by the file's size.

NumPy's reader trusts all sizes stated in a file and can unpickle objects. This reader reads the zip
directory first and rejects files that would unpack to more memory than their size allows.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from math import prod
from tokenize import TokenError

import numpy as np
from numpy.lib import format as npy

from evoprune.common.types import Array

__all__ = ["RATIO", "ROOM", "pack", "unpack"]

ROOM = 64 << 20  # bytes that any file may unpack to
RATIO = 64  # additional unpacked bytes allowed per byte of a file

BROKEN = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,  # includes RecursionError: NumPy parses a header as a Python expression
    SyntaxError,
    TokenError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def pack(arrays: Mapping[str, Array]) -> bytes:
    """Return .npz bytes: compressed, unless `unpack` would reject the compression ratio."""
    for write in (np.savez_compressed, np.savez):
        file = io.BytesIO()
        write(file, allow_pickle=False, **arrays)
        content = file.getvalue()
        if sum(a.nbytes for a in arrays.values()) <= _most(content):
            break
    return content


def unpack(content: bytes) -> dict[str, Array]:
    """Return the arrays of an .npz file by name, read-only.

    Raises:
        ValueError: the file is damaged, has objects other than plain arrays, or would unpack to
            more than 64 MiB plus 64 times its size.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            size, most = sum(member.file_size for member in members), _most(content)
            if size > most:
                raise ValueError(f"{len(content)} bytes that would unpack to {size}, limit {most}")
            names = [member.filename.removesuffix(".npy") for member in members]
            if len(set(names)) < len(names):
                raise ValueError("two arrays of one name")
            return {name: _read(archive, m) for name, m in zip(names, members, strict=True)}
    except NotImplementedError as error:
        raise ValueError(f"an unknown way of packing ({error})") from error
    except BROKEN as error:
        raise ValueError(str(error) or type(error).__name__) from error


def _most(content: bytes) -> int:
    return ROOM + RATIO * len(content)


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    """Return one array; reject a header that does not match the number of bytes."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{member.filename}: expected stored or deflated data")
    with archive.open(member) as file:
        content = file.read(member.file_size + 1)
    head = io.BytesIO(content)
    version = npy.read_magic(head)
    readers = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"{member.filename}: unknown version {version}")
    shape, fortran, dtype = readers[version](head)
    start = head.tell()
    if dtype.hasobject or dtype.itemsize == 0 or any(n < 0 for n in shape):
        raise ValueError(f"{member.filename}: expected plain values, got {dtype} {shape}")
    if prod(shape) * dtype.itemsize != len(content) - start:
        raise ValueError(
            f"{member.filename}: expected {prod(shape) * dtype.itemsize} bytes for {dtype} "
            f"{shape}, got {len(content) - start}"
        )
    array = np.frombuffer(content, dtype, offset=start)
    return array.reshape(shape, order="F" if fortran else "C")
