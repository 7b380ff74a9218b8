"""Network files follow docs/format.md: a NumPy reader written from the page computes outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import exported
import numpy as np
import pytest
from reference import layers
from safetensors import safe_open

Axis = tuple[str, int]  # name, number of founders


class File:
    """A network read from its file without any code of the package."""

    def __init__(self, path: Path) -> None:
        with safe_open(path, "numpy") as file:
            text = file.metadata()
            self.arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        assert (text["format"], text["version"]) == ("evoprune network", "1")
        self.spec, births = json.loads(text["spec"]), json.loads(text["births"])
        self.births = {name: np.array(ids, int) for name, ids in births.items()}

    def alive(self, axis: Axis) -> np.ndarray:
        return self.births.get(axis[0], np.arange(axis[1]))

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return outputs for a batch, in float64."""
        sizes = [int(n) for n in self.spec["input"]]
        shift, scale = (
            np.broadcast_to(self.arrays[f"input:{part}"], int(np.prod(sizes))).reshape(sizes)
            for part in ("shift", "scale")
        )
        x = (x.astype(np.float64) - shift) * scale
        names = ["input"] if len(sizes) == 1 else [f"input.{i}" for i in range(len(sizes))]
        axes = {"input": list(zip(names, sizes, strict=True))}
        for at, axis in enumerate(axes["input"]):
            x = x.take(self.alive(axis), at + 1)
        values, masses = {"input": x}, {}
        for layer in self.spec["layers"]:
            name, kind, sources = layer["name"], layer["kind"], layer["inputs"]
            config = {key: v for key, v in layer["config"].items() if v is not None}
            of = [axes[source] for source in sources]
            weights = {
                key.removeprefix(f"{name}."): array.astype(np.float64)
                for key, array in self.arrays.items()
                if key.startswith(f"{name}.")
            }
            out = axes[name] = self.output(name, kind, config, of)
            if config.get("shared"):  # the masses are those of an earlier layer
                weights["mass"] = masses[out[config["axis"]]]
            elif "mass" in weights:
                masses[out[config["axis"]]] = weights["mass"]
            values[name] = layers.TWINS[kind](
                [values[source] for source in sources],
                weights,
                config,
                born=of[0][-1][1],
                dims_at_birth=of[0][-1][1],
                births=(self.alive(of[0][-1]), self.alive(out[-1])),
                born_in=of[0][-1][1],
            )
        return values[layer["name"]]

    def output(self, name: str, kind: str, config: dict[str, Any], of: list[list[Axis]]) -> list:
        """Return the axes of a layer's output; only feature axes are used, others can be wrong."""
        x = of[0]
        if kind == "dense":
            kept = x[: len(x) - (int(config["contract"]) or len(x))]
            units = [int(n) for n in config.get("units", [])]
            names = [name] if len(units) == 1 else [f"{name}.{i}" for i in range(len(units))]
            return [*kept, *zip(names, units, strict=True)] if units else of[1]
        if kind in ("conv2d", "shortcut", "embedding"):
            size = config.get({"conv2d": "filters", "shortcut": "channels"}.get(kind, "units"))
            last = (name, int(size)) if size else x[-1] if len(of) == 1 else of[1][-1]
            return [*x, last] if kind == "embedding" else [*x[:-1], last]
        if kind in ("max_pool", "mean_pool") and not config.get("size"):
            return x[-1:]
        if kind == "take":
            return x[1:]
        return [x[0], ("", 0), ("", 0), x[-1]] if kind == "patches" else x


@pytest.mark.parametrize("name", exported.NETS)
def test_a_reader_of_the_file_computes_the_outputs(name, tmp_path):
    net = exported.net(name)
    net.save(tmp_path / "net.safetensors")
    x = exported.inputs(net)
    exported.agree(net.predict(x), File(tmp_path / "net.safetensors").forward(x))
