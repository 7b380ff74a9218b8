"""A network as a file: safetensors, with the arrays under their own names and the rest as JSON.

Any reader of safetensors sees the arrays; with the spec and the birth ids of the metadata the
network is whole again, on no code but the core's. Files are written beside their place and then
moved there, so that a reader never meets half of one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evoprune.common.errors import FileFormatError
from evoprune.common.files import write_whole
from evoprune.common.types import Array
from evoprune.core.spec import known
from evoprune.selection.laws import Loss

if TYPE_CHECKING:
    from evoprune.nets.network import Network

__all__ = ["load", "read", "save"]

FORMAT, VERSION = "evoprune network", 1
MOMENTS = ("first", "second")
EXTRA = "extra:"  # before the names of arrays that are not the network's


def save(
    network: Network,
    path: str | PathLike[str],
    *,
    moments: bool = False,
    facts: Mapping[str, Any] | None = None,
    extra: Mapping[str, Array] | None = None,
) -> None:
    """Write a network, and what else belongs to it.

    Args:
        network: it.
        path: the file.
        moments: the optimizer's too.
        facts: further plain values for the metadata, kept as JSON.
        extra: further arrays.
    """
    from safetensors.numpy import save as serialised

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
        arrays[f"input:{name}"] = np.atleast_1d(np.asarray(value, network.dtype))
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
        "loss": [network.loss.kind, network.loss.config()],
        "notes": network.notes,
        "facts": dict(facts or {}),
    }
    text = {key: v if isinstance(v, str) else json.dumps(v) for key, v in metadata.items()}
    content = serialised(arrays, text)

    def write(draft: Path) -> None:
        draft.write_bytes(content)

    write_whole(path, write)


def load(path: str | PathLike[str]) -> Network:
    """Read a network; see `evoprune.load`."""
    return read(path)[0]


def read(path: str | PathLike[str]) -> tuple[Network, dict[str, Any], dict[str, Array]]:
    """Read a network with the further facts and arrays that were saved with it.

    Raises:
        FileNotFoundError: no such file.
        FileFormatError: it is not one, or not whole; the file and what is wrong are named.
    """
    from safetensors import SafetensorError, safe_open

    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(
            f"{file}: no such file" if not file.exists() else f"{file}: a folder"
        )
    try:
        with safe_open(file, framework="numpy") as opened:
            text = opened.metadata() or {}
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, TypeError) as error:
        raise FileFormatError(f"{file}: no whole safetensors file ({error})") from error
    try:
        return _rebuild(text, arrays)
    except (KeyError, ValueError, TypeError) as error:
        raise FileFormatError(f"{file}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return f"no network of evoprune: {error.args[0]!r} is missing"
    return str(error)


def _rebuild(
    text: Mapping[str, str], arrays: dict[str, Array]
) -> tuple[Network, dict[str, Any], dict[str, Array]]:
    from evoprune.nets.network import Network

    if text.get("format") != FORMAT:
        raise ValueError("a safetensors file, but no network of evoprune")
    version = json.loads(text["version"])
    if version != VERSION:
        raise ValueError(f"expected version {VERSION} of the format, got {version}")
    dtype = text["dtype"]
    if dtype not in ("float32", "float64"):
        raise ValueError(f"dtype: expected float32 or float64, got {dtype!r}")
    network = Network(json.loads(text["spec"]), "float32" if dtype == "float32" else "float64")
    births = {name: np.array(ids, np.int32) for name, ids in json.loads(text["births"]).items()}
    network.core.shrink(births)
    for name in network:
        _copy(name, arrays.pop(name), network[name])
    for of, group in zip(MOMENTS, network.moments, strict=True):
        for name in network:
            if f"{of}:{name}" in arrays:
                _copy(f"{of}:{name}", arrays.pop(f"{of}:{name}"), group[name])
    shift, scale = (np.asarray(arrays.pop(f"input:{part}")) for part in ("shift", "scale"))
    network.scale_input(*(a if a.size > 1 else float(a[0]) for a in (shift, scale)))
    network.core.restore(
        int(json.loads(text["step"])),
        int(json.loads(text["generation"])),
        float(json.loads(text.get("waste", "0"))),  # files from before it was kept have none
    )
    kind, config = json.loads(text["loss"])
    network.loss = known(Loss)[kind](**config)
    network.notes = json.loads(text.get("notes", "{}"))
    extra = {name.removeprefix(EXTRA): a for name, a in arrays.items() if name.startswith(EXTRA)}
    unknown = [name for name in arrays if not name.startswith(EXTRA)]
    if unknown:
        raise ValueError(f"the network of its spec has no array {unknown[0]!r}")
    return network, json.loads(text["facts"]), extra


def _copy(name: str, source: Array, target: Array) -> None:
    if source.shape != target.shape or source.dtype != target.dtype:
        raise ValueError(
            f"{name}: expected {target.dtype} {target.shape}, got {source.dtype} {source.shape}"
        )
    target[...] = source
