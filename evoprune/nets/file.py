"""Network files: safetensors with the arrays by name and the rest as JSON metadata.

Any safetensors reader can read the arrays; the metadata has the spec and the birth ids. The same
validator checks networks before writing and after reading. `read` allocates only the arrays in the
file, without removed populations, so the size of the file bounds the memory.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from evoprune.common.errors import FileFormatError
from evoprune.common.files import existing, write_whole
from evoprune.common.plain import plain
from evoprune.common.types import Array
from evoprune.core.spec import known
from evoprune.selection.groups import Loss

if TYPE_CHECKING:
    from evoprune.nets.network import Network

__all__ = ["check", "from_bytes", "load", "parts_from_bytes", "read", "save", "to_bytes"]

FORMAT, VERSION = "evoprune network", 1
MOMENTS = ("first", "second")
MOST_FITNESS = 1e30  # largest fitness: times 1e7 (bias correction), it still fits in float32
EXTRA = "extra:"  # prefix of arrays that are not the network's
MOST = 2**53  # limit of steps and generations
SMALL = 1 << 20  # elements that a network may have in total, however small its file
MOST_HEADER = 100_000_000  # bytes; safetensors readers reject longer headers

Parts = tuple["Network", dict[str, Any], dict[str, Array]]


def save(
    network: Network,
    path: str | PathLike[str],
    *,
    moments: bool = False,
    facts: Mapping[str, Any] | None = None,
    extra: Mapping[str, Array] | None = None,
) -> None:
    """Write a network with further facts and arrays; see `to_bytes`."""
    write_whole(path, to_bytes(network, moments=moments, facts=facts, extra=extra))


def to_bytes(
    network: Network,
    *,
    moments: bool = False,
    facts: Mapping[str, Any] | None = None,
    extra: Mapping[str, Array] | None = None,
) -> bytes:
    """Return the content of a network file.

    Args:
        network: the network.
        moments: include the optimizer's moments.
        facts: further plain values for the metadata, stored as JSON.
        extra: further arrays.

    Raises:
        TypeError, ValueError: a value in the network's notes or in `facts` is not plain (the
            message names it), or an array has invalid values (see `check`).
    """
    from safetensors.numpy import save as serialised

    check(network)
    with network.core:  # a consistent state even while another thread trains it
        arrays, text = _content(network, moments, facts, extra)
        return _ordered(serialised(arrays, text))


def _content(
    network: Network,
    moments: bool,
    facts: Mapping[str, Any] | None,
    extra: Mapping[str, Array] | None,
) -> tuple[dict[str, Array], dict[str, str]]:
    """Return arrays and metadata of a file."""
    described = network.describe()
    arrays = {name: np.ascontiguousarray(array) for name, array in network.items()}
    if moments:
        for of, group in zip(MOMENTS, network.moments, strict=True):
            for tensor in described["tensors"]:
                if tensor["role"] in ("decayed", "free"):
                    name = tensor["name"]
                    arrays[f"{of}:{name}"] = np.ascontiguousarray(group[name])
    shift, scale = network.input_scaling
    for name, value in (("shift", shift), ("scale", scale)):
        arrays[f"input:{name}"] = np.atleast_1d(np.asarray(value, np.float64))
    arrays |= {EXTRA + name: np.ascontiguousarray(a) for name, a in (extra or {}).items()}
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "dtype": network.dtype,
        "spec": network.spec,
        "births": {
            axis["name"]: [int(b) for b in axis["birth"]]
            for axis in described["axes"]
            if axis["mortal"]
        },
        "step": network.step,
        "generation": network.generation,
        "waste": network.core.waste,
        "loss": [network.loss.in_file().kind, network.loss.in_file().config()],
        "notes": plain("notes", network.notes),
        "facts": plain("facts", dict(facts or {})),
    }
    later = {a["name"]: a["next_birth"] for a in described["axes"] if a["next_birth"] > a["born"]}
    if later:
        metadata["next_births"] = later
    text = {key: v if isinstance(v, str) else json.dumps(v) for key, v in metadata.items()}
    return arrays, text


def _ordered(content: bytes) -> bytes:
    """Return the file with sorted metadata, so that equal networks have equal bytes."""
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # align the arrays to 8 bytes
    if len(text) > MOST_HEADER:
        raise ValueError(
            f"notes: expected names and notes of less than {MOST_HEADER} bytes in all, got "
            f"{len(text)}"
        )
    return struct.pack("<Q", len(text)) + text + content[8 + size :]


def load(path: str | PathLike[str], kind: type[Network]) -> Network:
    """Read a network of class `kind`; see `evoprune.load`."""
    return read(path, kind)[0]


def read(path: str | PathLike[str], kind: type[Network]) -> Parts:
    """Read a network of class `kind` with the further facts and arrays of its file.

    Raises:
        FileNotFoundError: the file does not exist.
        OSError: the file cannot be read, or is a device.
        FileFormatError: the file is damaged, inconsistent, or has another format; the message
            names the file and the fault.
    """
    return parts_from_bytes(existing(path).read_bytes(), str(path), kind)


def from_bytes(content: bytes, name: str, kind: type[Network]) -> Network:
    """Return the network from the content of a file; `name` is for error messages."""
    return parts_from_bytes(content, name, kind)[0]


def parts_from_bytes(content: bytes, name: str, kind: type[Network]) -> Parts:
    """Return network, facts and extra arrays from the content of a file, as `read` does."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as arrays_of

    try:
        arrays = arrays_of(content)
        size = struct.unpack("<Q", content[:8])[0]
        # The metadata may be absent or null.
        text = json.loads(content[8 : 8 + size]).get("__metadata__") or {}
    except (SafetensorError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise FileFormatError(f"{name}: not a complete safetensors file ({error})") from error
    try:
        return _rebuild(text, arrays, kind)
    except KeyError as error:
        what = f"no network of evoprune: {error.args[0]!r} is missing"
        raise FileFormatError(f"{name}: {what}") from error
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise FileFormatError(f"{name}: {error}") from error


def _rebuild(text: Mapping[str, str], arrays: dict[str, Array], kind: type[Network]) -> Parts:
    if text.get("format") != FORMAT:
        raise ValueError("a safetensors file, but not a network of evoprune")
    version = json.loads(text["version"])
    if version != VERSION:
        raise ValueError(f"expected version {VERSION} of the format, got {version}")
    dtype = text["dtype"]
    if dtype not in ("float32", "float64"):
        raise ValueError(f"dtype: expected float32 or float64, got {dtype!r}")
    births = {name: _births(name, ids) for name, ids in _dict(text, "births").items()}
    network = kind.from_spec(
        _dict(text, "spec"),
        "float32" if dtype == "float32" else "float64",
        births=births,
        next_births=_next_births(text),
        most=max(SMALL, sum(a.size for a in arrays.values())),
    )
    for name in network:
        _copy(name, arrays.pop(name), network[name])
    mortal = {axis["name"] for axis in network.describe()["axes"] if axis["mortal"]}
    if mortal != set(births):
        raise ValueError(f"births: expected axes {sorted(mortal)}, got {sorted(births)}")
    for of, group in zip(MOMENTS, network.moments, strict=True):
        for name in network:
            if f"{of}:{name}" in arrays:
                _copy(f"{of}:{name}", arrays.pop(f"{of}:{name}"), group[name])
    shift, scale = (_scaling(part, arrays.pop(f"input:{part}")) for part in ("shift", "scale"))
    network.scale_input(shift, scale)
    network.core.restore(
        _count(text, "step"), _count(text, "generation"), float(json.loads(text.get("waste", "0")))
    )
    network.loss = _loss(json.loads(text["loss"]))
    network.notes = _dict(text, "notes") if "notes" in text else {}
    check(network)
    extra = {name.removeprefix(EXTRA): a for name, a in arrays.items() if name.startswith(EXTRA)}
    unknown = [name for name in arrays if not name.startswith(EXTRA)]
    if unknown:
        raise ValueError(f"the network of its spec has no array {unknown[0]!r}")
    return network, _dict(text, "facts"), extra


def check(network: Network) -> None:
    """Check that a network's arrays have valid values.

    Raises:
        ValueError: a value is not finite, a mass, variance or second moment is negative, a fitness
            is too large, `alive` is neither 0 nor 1, an extinct population has a mass, or a living
            one has none; the message names the array.
    """
    first, second = network.moments
    for tensor in network.describe()["tensors"]:
        name, role = tensor["name"], tensor["role"]
        part, array = name.rpartition(".")[2], network[name]
        if not (np.isfinite(array).all() and np.isfinite(first[name]).all()):
            raise ValueError(f"{name}: expected finite numbers, also as first moments")
        if not (second[name] >= 0).all():  # infinity is valid: large squares overflow
            raise ValueError(f"{name}: expected second moments of at least 0")
        if (role == "evolved" or (role == "tracked" and part == "variance")) and (array < 0).any():
            raise ValueError(f"{name}: expected numbers of at least 0")
        if role == "tracked" and part == "fitness" and (np.abs(array) > MOST_FITNESS).any():
            raise ValueError(f"{name}: expected fitness of at most {MOST_FITNESS:g}")
        if role == "tracked" and part == "alive":
            if not ((array == 0) | (array == 1)).all():
                raise ValueError(f"{name}: expected 0 or 1 for each population")
            mass = network[f"{name.removesuffix('alive')}mass"]
            if mass[array == 0].any() or not mass[array == 1].all():
                raise ValueError(
                    f"{name}: expected a mass of 0 for each extinct population and above 0 for "
                    "each living one; kill() makes populations extinct"
                )


def _dict(text: Mapping[str, str], key: str) -> dict[str, Any]:
    value = json.loads(text[key])
    if not isinstance(value, dict):
        raise ValueError(f"{key}: expected an object of JSON, got {type(value).__name__}")
    return value


def _count(text: Mapping[str, str], key: str) -> int:
    value = json.loads(text[key])
    if type(value) is not int or not 0 <= value <= MOST:
        raise ValueError(f"{key}: expected a whole number from 0 to {MOST}, got {value!r}")
    return value


def _births(name: str, ids: Any) -> Array:
    if not isinstance(ids, list) or not all(type(b) is int and 0 <= b < 2**31 for b in ids):
        raise ValueError(f"births: expected a list of birth ids for axis {name}")
    return np.array(ids, np.int64)


def _next_births(text: Mapping[str, str]) -> dict[str, int]:
    """Return the number of populations born so far, for axes with more than the founders."""
    numbers = _dict(text, "next_births") if "next_births" in text else {}
    for name, n in numbers.items():
        if type(n) is not int or not 0 < n < 2**31 - 1:
            raise ValueError(f"next_births: expected a count for axis {name}, got {n!r}")
        if name not in _dict(text, "births"):
            raise ValueError(f"next_births: expected axes with birth ids, got {name}")
    return numbers


def _loss(value: Any) -> Loss:
    losses = known(Loss)
    if not isinstance(value, list) or len(value) != 2 or not isinstance(value[1], dict):
        raise ValueError("loss: expected the name of a loss and its settings")
    if not isinstance(value[0], str) or value[0] not in losses:
        raise ValueError(f"loss: expected one of {', '.join(losses)}, got {value[0]!r}")
    return losses[value[0]](**value[1])


def _scaling(part: str, array: Array) -> float | Array:
    good = array.ndim == 1 and array.size and array.dtype.kind == "f"
    if not good or not np.isfinite(array).all():
        raise ValueError(
            f"input:{part}: expected finite numbers, one or one for each input feature"
        )
    return array if array.size > 1 else float(array[0])


def _copy(name: str, source: Array, target: Array) -> None:
    if source.shape != target.shape or source.dtype != target.dtype:
        raise ValueError(
            f"{name}: expected {target.dtype} {target.shape}, got {source.dtype} {source.shape}"
        )
    target[...] = source
