"""A community: populations under selection, without a network.

    c = ep.Community({"hidden": 64, "out": 10}, ep.Selection(1.5), seed=0)
    deaths = c.step(fitness={"hidden": f, "out": g})        # or mass_gradient=..., both by layer
    c.mass["hidden"], c.alive["hidden"], c.upkeep["hidden"]  # (64,), indexed by birth id

A generation is the core's own, the code that trains: a community that is given the signals of a
training run has the same masses, deaths and upkeep as that run, bit for bit. What the populations
are (modules of another framework, species of a model) is the caller's affair; where they are rows
of arrays, the caller removes those that are extinct.

With one layer, given as a plain number, every mapping by layer is a plain array instead:

    c = ep.Community(64)
    c.step(fitness=f)
    c.mass                                                   # (64,)
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from evoprune import core
from evoprune.common.checks import number, whole
from evoprune.common.types import Array
from evoprune.selection.settings import Selection

__all__ = ["DEATH", "Community"]

ByLayer: TypeAlias = ArrayLike | Mapping[str, ArrayLike]
"""An array where the community has one layer given as a number; else arrays by layer."""

DEATH = np.dtype(
    [("generation", "i8"), ("layer", "U64"), ("birth", "i4"), ("mass", "f8"), ("fitness", "f8")]
)
"""One row of `Community.extinct`."""

ONE = "populations"  # the name of the layer where there is one without a name
SIGNALS = ("mass_gradient", "owned_norm2", "owned_gradient2", "owned_product", "activity", "norm2")


class Community:
    """Populations that live and die by a `Selection`, on numbers of your own.

    Args:
        born: number of populations; or of every layer, by name. The layers' order is kept.
        selection: memory, upkeep, dynamics, threshold, floor, min_age and niche are used; `every`,
            `rest`, `clock` and `removal` are about training and are not. Its pressure counts where
            `step` is not given another; a schedule or a Budget needs one at every step.
        seed: of the chance in dynamics that have some.
        cost: what a population costs relative to the others, for upkeep that is not given: a number
            by layer, or an array by birth id; all the same, adding up to 1, if not given. In a
            network it is the share of all multiply-adds.
        mass: at birth, by layer; 1 if not given.
        dtype: "float32", as networks compute by default, or "float64".

    Attributes:
        selection: as given.
        born: number of founding populations by layer.
        layers: names, in order.

    Raises:
        ValueError, TypeError: an argument does not fit; it is named.
    """

    def __init__(
        self,
        born: int | Mapping[str, int],
        selection: Selection = Selection(),  # noqa: B008 - cannot be changed
        *,
        seed: int = 0,
        cost: ByLayer | None = None,
        mass: ByLayer | None = None,
        dtype: Literal["float32", "float64"] = "float32",
    ) -> None:
        if not isinstance(selection, Selection):
            raise TypeError(f"selection: expected a Selection, got {selection!r}")
        if dtype not in ("float32", "float64"):
            raise ValueError(f"dtype: expected float32 or float64, got {dtype!r}")
        named = isinstance(born, Mapping)
        sizes = dict(born) if isinstance(born, Mapping) else {ONE: born}
        if not sizes:
            raise ValueError("born: expected at least one layer, got none")
        for name in sizes:
            if not isinstance(name, str):
                raise TypeError(f"born: expected names of layers, got {name!r}")
        self.selection = selection
        self.born: dict[str, int] = {
            name: whole(f"born[{name!r}]" if named else "born", n, 1) for name, n in sizes.items()
        }
        self.layers = tuple(self.born)
        self.dtype: Literal["float32", "float64"] = dtype
        self.seed = seed
        self._named = named
        self._founded = sum(self.born.values())
        module = core.core32 if dtype == "float32" else core.core64
        self._core: Any = module.Community(
            np.array(list(self.born.values()), np.int64), selection.config(), seed
        )
        self._pressure = self._usual_pressure()
        self._deaths: list[Array] = []
        self.floor_reached = 0
        if cost is not None:
            self.cost = cost
        if mass is not None:
            self._core.restore(mass=self._flat("mass", mass, living=False))

    def _usual_pressure(self) -> float | None:
        pressure: Any = self.selection.pressure
        return None if callable(pressure) or np.ndim(pressure) else float(pressure)

    # ---- one generation ----------------------------------------------------------------------

    def step(
        self,
        mass_gradient: ByLayer | None = None,
        fitness: ByLayer | None = None,
        *,
        strength: float = 1.0,
        pressure: float | None = None,
        cost: ByLayer | None = None,
        owned_norm2: ByLayer | None = None,
        owned_gradient2: ByLayer | None = None,
        owned_product: ByLayer | None = None,
        activity: ByLayer | None = None,
        terms: float = 1.0,
        norm2: ByLayer | None = None,
        overlap: ArrayLike | None = None,
    ) -> Array:
        """Live one generation: fitness, memory, upkeep, dynamics, extinction.

        Arrays are by layer, and by birth id (born,), numbers of the extinct being ignored; or of
        the living only, in the order of birth ids; or one number for all.

        Args:
            mass_gradient: dL/dmass, from which the selection's fitness follows.
            fitness: instead of it, fitness itself, nats.
            strength: of the dynamics, 0 (masses rest) to 1, as a schedule would give it.
            pressure: the selection's if not given.
            cost: sets `cost` first.
            owned_norm2, owned_gradient2, owned_product, activity, terms: signals that other
                fitness laws take, see `evoprune.fitness`.
            norm2: squared norms of the populations' weights, for `BestResponse`.
            overlap: how alike two populations are, for laws in which the alike compete: (all, all)
                over all founding populations, layer after layer; if not given, each is like itself
                only.

        Returns:
            The deaths of this generation: generation, layer, birth, mass, fitness.

        Raises:
            ValueError, TypeError: an argument does not fit, or the result of a law in Python;
                nothing has changed.
        """
        if fitness is None and mass_gradient is None and self._needs_gradient():
            raise ValueError("step: expected mass_gradient or fitness, got neither")
        if pressure is None:
            pressure = self._pressure
        if pressure is None:
            raise ValueError("step: pressure must be given, the selection's is not one number")
        pressure = number("step: pressure", pressure, 0, 1e300)
        strength = number("step: strength", strength, 0, 1e300)
        given = {
            "mass_gradient": mass_gradient,
            "owned_norm2": owned_norm2,
            "owned_gradient2": owned_gradient2,
            "owned_product": owned_product,
            "activity": activity,
            "norm2": norm2,
            "fitness": fitness,
        }
        signals = {n: self._flat(n, value) for n, value in given.items() if value is not None}
        if overlap is not None:
            signals["overlap"] = np.asarray(overlap)
        before = None if cost is None else self._core.state()["costs"]
        if cost is not None:
            self.cost = cost
        try:
            gone, held, capped = self._core.step(pressure, strength, terms=terms, **signals)
        except BaseException:
            if before is not None:
                self._core.restore(costs=before)
            raise
        self._pressure = pressure
        self.floor_reached += held
        if capped:
            warnings.warn(
                f"{capped} masses have reached {self.most_mass:g}, the most that a mass can be; "
                "they were cut there",
                RuntimeWarning,
                stacklevel=2,
            )
        deaths = np.zeros(len(gone), DEATH)
        if len(gone):
            deaths["layer"] = np.array(self.layers)[gone["population"]]
            deaths["generation"] = gone["step"]
            for name in ("birth", "mass", "fitness"):
                deaths[name] = gone[name]
            self._deaths.append(deaths)
        return deaths

    def _needs_gradient(self) -> bool:
        needs = getattr(self.selection.fitness, "facts", {}).get("needs")
        return not needs

    @property
    def most_mass(self) -> float:
        """The most that a mass can be; above it, it is cut."""
        return 1e30 if self.dtype == "float32" else 1e300

    # ---- how it is now -----------------------------------------------------------------------

    @property
    def generation(self) -> int:
        """Generations so far."""
        return int(self._core.state()["generation"])

    @property
    def mass(self) -> Any:
        """Masses by birth id, 0 of the extinct: (born,), by layer."""
        return self._split(self._core.state()["mass"])

    @property
    def alive(self) -> Any:
        """Which populations live, by birth id: bool (born,), by layer."""
        return self._split(self._core.state()["alive"] > 0)

    @property
    def births(self) -> Any:
        """Birth ids of the living, ascending: int64 (alive,), by layer."""
        found = {n: np.flatnonzero(a) for n, a in self._by_layer(self._living()).items()}
        return found if self._named else found[ONE]

    @property
    def fitness(self) -> Any:
        """Remembered fitness by birth id, nats, NaN of the extinct: (born,), by layer."""
        return self._split(self._core.price(self._pressure or 0.0)[0])

    @property
    def upkeep(self) -> Any:
        """Upkeep by birth id, nats, NaN of the extinct: (born,), by layer.

        It is what the next generation takes at the last pressure, if fitness stays.
        """
        return self._split(self._core.price(self._pressure or 0.0)[1])

    @property
    def cost(self) -> Any:
        """What populations cost relative to each other, by birth id: float64 (born,), by layer."""
        return self._split(self._core.state()["costs"])

    @cost.setter
    def cost(self, cost: ByLayer) -> None:
        costs = self._flat("cost", cost, dtype=np.float64)
        if np.isnan(costs).any():  # only the living were given
            costs = np.where(np.isnan(costs) & ~self._living(), 0.0, costs)
        self._core.restore(costs=costs)

    @property
    def extinct(self) -> Array:
        """All deaths so far: generation, layer, birth, mass, fitness, in the order of death."""
        return np.concatenate(self._deaths) if self._deaths else np.zeros(0, DEATH)

    # ---- state -------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, copied: plain values and arrays."""
        state = self._core.state()
        return {
            "born": dict(self.born),
            "seed": self.seed,
            "generation": int(state["generation"]),
            "mass": state["mass"],
            "fitness": state["fitness"],
            "alive": state["alive"],
            "memory": state["memory"],
            "cost": state["costs"],
            "pressure": self._pressure,
            "floor_reached": self.floor_reached,
            "extinct": self.extinct,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back, or forward, to a state of a community of the same layers.

        Raises:
            KeyError: something is missing; ValueError: the layers, the seed or an array differ.
                Nothing has changed then.
        """
        if dict(state["born"]) != self.born or list(state["born"]) != list(self.born):
            raise ValueError(f"state: expected layers {self.born}, got {dict(state['born'])}")
        if state["seed"] != self.seed:
            raise ValueError(f"state: expected seed {self.seed}, got {state['seed']}")
        deaths = np.asarray(state["extinct"]).astype(DEATH)
        pressure, held = state["pressure"], int(state["floor_reached"])
        self._core.restore(
            mass=state["mass"],
            fitness=state["fitness"],
            alive=state["alive"],
            memory=state["memory"],
            costs=state["cost"],
            generation=state["generation"],
        )
        self._deaths = [deaths] if len(deaths) else []
        self._pressure, self.floor_reached = pressure, held

    def __reduce__(self) -> tuple[Any, ...]:
        born = self.born if self._named else self._founded
        return _again, (born, self.selection, self.seed, self.dtype, self.state_dict())

    def __repr__(self) -> str:
        living = self._by_layer(self._living())
        counts = ", ".join(f"{n}: {int(a.sum())} of {len(a)}" for n, a in living.items())
        return f"Community({counts} alive, {self.generation} generations, {self.selection!r})"

    # ---- between arrays by layer and one flat array --------------------------------------------

    def _living(self) -> Array:
        return np.asarray(self._core.state()["alive"] > 0)

    def _by_layer(self, flat: Array) -> dict[str, Array]:
        parts = np.split(flat, np.cumsum(list(self.born.values()))[:-1])
        return dict(zip(self.layers, parts, strict=True))

    def _split(self, flat: Array) -> Any:
        return self._by_layer(flat) if self._named else flat

    def _flat(self, name: str, values: ByLayer, *, dtype: Any = None, living: bool = True) -> Array:
        """Arrays by layer as one over all founding populations.

        Args:
            name: of the argument, for error texts.
            values: by layer, or plain where the community has one layer without a name.
            dtype: of the result; the community's if not given.
            living: arrays of the living only are taken too; the extinct get NaN.
        """
        dtype = dtype or np.dtype(self.dtype)
        if isinstance(values, Mapping) != self._named:
            wanted = "a mapping from layers to arrays" if self._named else "an array"
            raise TypeError(f"{name}: expected {wanted}, got {type(values).__name__}")
        parts: dict[str, Any] = dict(values) if isinstance(values, Mapping) else {ONE: values}
        if set(parts) != set(self.born):
            raise ValueError(
                f"{name}: expected the layers {', '.join(self.layers)}, got {', '.join(parts)}"
            )
        flat = np.empty(self._founded, dtype)
        for (layer, target), alive in zip(
            self._by_layer(flat).items(), self._by_layer(self._living()).values(), strict=True
        ):
            where = f"{name}[{layer!r}]" if self._named else name
            try:
                array = np.asarray(parts[layer], dtype)
            except (TypeError, ValueError):
                raise TypeError(f"{where}: expected real numbers, got {parts[layer]!r}") from None
            count = int(alive.sum())
            if array.shape in ((), target.shape):
                target[...] = array
            elif living and array.shape == (count,):
                target[...] = np.nan
                target[alive] = array
            else:
                also = f" or, of the living only, ({count},)" if count != len(target) else ""
                raise ValueError(
                    f"{where}: expected a shape of ({len(target)},){also}, got {array.shape}"
                )
        return flat


def _again(
    born: int | dict[str, int],
    selection: Selection,
    seed: int,
    dtype: Literal["float32", "float64"],
    state: dict[str, Any],
) -> Community:
    community = Community(born, selection, seed=seed, dtype=dtype)
    community.load_state_dict(state)
    return community
