"""What a network is: the compiled core, its description, and its arrays by name."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal, TypeAlias

from numpy.typing import ArrayLike

from evoprune import core
from evoprune.common.renames import current_name
from evoprune.common.types import Array
from evoprune.nets.arrays import ArrayMapping, Arrays
from evoprune.nets.populations import living, population

__all__ = ["Described", "Dtype"]

Dtype: TypeAlias = Literal["float32", "float64"]


class Described(ArrayMapping):
    """The part of `Network` that describes it: structure, sizes, costs and arrays.

    The founding shape of a network or array has all founding populations, its living shape only
    those that have not been removed.
    """

    core: Any
    dtype: Dtype

    def _build(
        self,
        spec: Mapping[str, Any],
        dtype: Dtype,
        births: Mapping[str, Array],
        most: int,
        next_births: Mapping[str, int],
    ) -> None:
        """Build the compiled network; see `Network` for the arguments."""
        if dtype not in ("float32", "float64"):
            raise ValueError(f"dtype: expected float32 or float64, got {dtype!r}")
        self._module = core.core32 if dtype == "float32" else core.core64
        self.core = self._module.Network(dict(spec), dict(births), most, dict(next_births))
        self.dtype = dtype

    @property
    def spec(self) -> dict[str, Any]:
        """A copy of the founding structure with all defaults: plain Python, JSON-serializable."""
        spec: dict[str, Any] = copy.deepcopy(self.core.spec)
        return spec

    @property
    def step(self) -> int:
        """Number of optimizer updates so far."""
        return int(self.core.step)

    @property
    def generation(self) -> int:
        """Number of generations of selection so far."""
        return int(self.core.generation)

    @property
    def macs(self) -> float:
        """Multiply-adds of one sample's forward pass, without removed populations."""
        return float(self.core.macs)

    @property
    def founding_macs(self) -> float:
        """Multiply-adds of one sample's forward pass at birth."""
        return float(self.core.founding_macs)

    @property
    def flops(self) -> float:
        """Former name of `macs`; multiply-adds, not floating-point operations (1 MAC = 2 FLOPs)."""
        current_name("Network", {"flops": "macs"}, "flops")
        return self.macs

    @property
    def founding_flops(self) -> float:
        """Former name of `founding_macs`."""
        current_name("Network", {"founding_flops": "founding_macs"}, "founding_flops")
        return self.founding_macs

    @property
    def parameters(self) -> int:
        """Number of weights, biases and masses, without removed populations."""
        return int(self.core.parameters)

    @property
    def founding_parameters(self) -> int:
        """Number of weights, biases and masses at birth."""
        return int(self.core.founding_parameters)

    @property
    def nbytes(self) -> int:
        """Bytes allocated by the core: values, gradients, moments, activations and scratch."""
        return int(self.core.nbytes)

    def describe(self) -> dict[str, Any]:
        """Return the core's description of axes, layers, populations and tensors: plain Python."""
        facts: dict[str, Any] = self.core.describe()
        return facts

    @property
    def alive(self) -> dict[str, int]:
        """Number of living populations, by layer."""
        return {p["layer"]: int(p["alive"]) for p in self.describe()["populations"]}

    @property
    def born(self) -> dict[str, int]:
        """Number of founding populations, by layer."""
        return {p["layer"]: int(p["born"]) for p in self.describe()["populations"]}

    @property
    def ever_born(self) -> dict[str, int]:
        """Number of populations born so far, founders included, by layer."""
        return {p["layer"]: int(p["next_birth"]) for p in self.describe()["populations"]}

    def births(self, layer: str) -> Array:
        """Return the birth ids of a layer's living populations, ascending: int32 (alive,).

        Raises:
            KeyError: there is no such layer of populations.
        """
        with self.core:
            facts = self.describe()
            return living(self, facts, population(facts, layer))[1]

    # ---- arrays ------------------------------------------------------------------------------

    def _names(self) -> list[str]:
        return [tensor["name"] for tensor in self.describe()["tensors"]]

    def _array(self, name: str) -> Array:
        array: Array = self.core.array(name)
        return array

    def _lock(self) -> AbstractContextManager[object]:
        lock: AbstractContextManager[object] = self.core
        return lock

    def __setitem__(self, name: str, values: ArrayLike) -> None:
        self[name][...] = values

    @property
    def gradients(self) -> Arrays:
        """Gradients of the last backward pass, by the names of the arrays."""
        return self._arrays("gradient")

    @property
    def moments(self) -> tuple[Arrays, Arrays]:
        """The optimizer's first and second moments, by the names of the arrays."""
        return self._arrays("first"), self._arrays("second")

    @property
    def activations(self) -> Arrays:
        """Outputs of every layer, and "input", for the last training batch: each (samples, ...)."""
        return Arrays(self._layers, self.core.activation, self._lock)

    @property
    def activation_gradients(self) -> Arrays:
        """Gradients of the loss with respect to `activations`.

        Raises:
            RuntimeError: the last training step has overwritten this gradient. This only happens
                after a run was interrupted by Ctrl-C or by an error.
        """
        return Arrays(
            self._layers, lambda name: self.core.activation(name, of="gradient"), self._lock
        )

    def _layers(self) -> list[str]:
        return ["input", *(layer["name"] for layer in self.spec["layers"])]

    def _arrays(self, of: str) -> Arrays:
        return Arrays(self._names, lambda name: self.core.array(name, of=of), self._lock)
