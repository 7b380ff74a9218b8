"""A community: populations under selection, without a network.

    c = ep.Community({"hidden": 64, "out": 10}, ep.Selection(1.5), seed=0)
    deaths = c.step(fitness={"hidden": f, "out": g})        # or mass_gradient=..., both by layer
    c.mass["hidden"], c.alive["hidden"], c.upkeep["hidden"]  # (64,), indexed by birth id

Training runs the same code of the core: called with the signals of a training run, a community has
bit-identical masses, deaths and upkeep. Populations can be anything (modules of another framework,
species of a model); if they are rows of arrays, the caller removes the extinct ones.

With one layer, given as a plain number, every mapping by layer is a plain array instead:

    c = ep.Community(64)
    c.step(fitness=f)
    c.mass                                                   # (64,)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from evoprune import core
from evoprune.common.checks import number, whole
from evoprune.common.renames import spelled
from evoprune.common.types import Array
from evoprune.common.warn import warn
from evoprune.selection.settings import Selection

__all__ = ["BIRTH", "DEATH", "Community"]

ByLayer: TypeAlias = ArrayLike | Mapping[str, ArrayLike]
"""Arrays by layer name, or one NumPy array over all founding populations, layer after layer. A
community created with a plain number takes any array over its populations."""

DEATH = np.dtype(
    [("generation", "i8"), ("layer", "U64"), ("birth", "i4"), ("mass", "f8"), ("fitness", "f8")]
)
"""One row of `Community.extinct`."""

BIRTH = np.dtype(
    [
        ("generation", "i8"),
        ("layer", "U64"),
        ("birth", "i4"),
        ("parent", "i4"),
        ("mass", "f8"),
        ("fitness", "f8"),
    ]
)
"""One row of `Community.lineage`; the parent of an immigrant is -1."""

ONE = "populations"  # name of the only layer if `born` is a plain number
SIGNALS = ("mass_gradient", "owned_norm2", "owned_gradient2", "owned_product", "activity", "norm2")


@spelled
class Community:
    """Populations under a `Selection`, with signals that the caller computes.

    Args:
        born: number of populations; or numbers by layer name, in the order of the layers.
        selection: settings of selection; `every`, `rest`, `clock` and `removal` have no effect
            here. Its pressure is the default of `step`; with a schedule or a Budget, `step` must be
            called with a pressure.
        seed: seed of stochastic dynamics.
        cost: relative costs of populations: a number by layer, or an array by birth id. By default
            all costs are equal and sum to 1. In a network, a cost is a share of all multiply-adds.
            Costs have no effect if the selection's upkeep is a vector.
        mass: masses at birth, by layer; 1 by default.
        dtype: "float32", the default of networks, or "float64".
        generations: number of generations of the whole run, each of strength 1, for time constants
            of the selection that are None; see `Selection.timed`. None: unknown.

    Attributes:
        selection: the argument `selection`, with numbers for its time constants.
        born: number of founding populations by layer. With births, arrays by birth id have an
            element for every population born so far, founders first.
        layers: names of the layers, in order.

    Raises:
        ValueError, TypeError: an argument is invalid; the message names it.
    """

    def __init__(
        self,
        born: int | Mapping[str, int],
        selection: Selection = Selection(),  # noqa: B008 - immutable
        *,
        seed: int = 0,
        cost: ByLayer | None = None,
        mass: ByLayer | None = None,
        dtype: Literal["float32", "float64"] = "float32",
        generations: float | None = None,
    ) -> None:
        if not isinstance(selection, Selection):
            raise TypeError(f"selection: expected a Selection, got {selection!r}")
        if generations is not None:
            generations = number("generations", generations, 0, 1e15)
        selection = selection.timed(generations)
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
        self._sizes = list(self.born.values())  # populations born so far, by layer
        module = core.core32 if dtype == "float32" else core.core64
        self._core: Any = module.Community(
            np.array(list(self.born.values()), np.int64), selection.config(), seed
        )
        self._pressure = self._usual_pressure()
        self._deaths: list[Array] = []
        self._births: list[Array] = []
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
        """Run one generation: compute smoothed fitness and upkeep, change masses, mark extinctions.

        Values by layer are one of three: an array by birth id (born,), in which elements of extinct
        populations are ignored; an array of the living populations only (alive,), in order of birth
        ids; or one number for all. Instead of a mapping, one NumPy array may hold the values of all
        founding populations, layer after layer.

        Args:
            mass_gradient: gradient of the loss with respect to each mass, from which the
                selection's law computes fitness.
            fitness: the fitness itself, in nats, instead of `mass_gradient`.
            strength: strength of the dynamics, 0 (masses do not change) to 1.
            pressure: by default the pressure of the previous step, at first the selection's.
            cost: new value of the attribute `cost`, set before the generation.
            owned_norm2, owned_gradient2, owned_product, activity, terms: signals that other
                fitness laws take, see `evoprune.fitness`.
            norm2: squared norms of the populations' weights, for `BestResponse`.
            overlap: similarity of populations, for laws in which similar ones compete: (n, n) over
                all n populations born so far, layer after layer; the identity by default.

        Returns:
            The deaths of this generation: generation, layer, birth, mass, fitness. Births are
            appended to `lineage`, and arrays by birth id grow by them.

        Raises:
            ValueError, TypeError: an argument or the result of a Python law is invalid; the
                community is unchanged.
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
            gone, held, capped, newborn = self._core.step(
                pressure, strength, terms=terms, **signals
            )
        except BaseException:
            if before is not None:
                self._core.restore(costs=before)
            raise
        self._pressure = pressure
        self.floor_reached += held
        if capped:
            warn(
                f"{capped} masses have reached {self.most_mass:g}, the largest allowed "
                "value, and were capped",
                RuntimeWarning,
            )
        deaths = self._rows(gone, DEATH)
        if len(gone):
            self._deaths.append(deaths)
        if len(newborn):
            self._births.append(self._rows(newborn, BIRTH))
            self._sizes = self._core.state()["next_births"].tolist()
        return deaths

    def _rows(self, told: Array, dtype: np.dtype[Any]) -> Array:
        """Return the core's deaths or births as rows of `dtype`, with names of layers."""
        rows = np.zeros(len(told), dtype)
        rows["layer"] = np.array(self.layers)[told["population"]]
        rows["generation"] = told["step"]
        for name in (dtype.names or ())[2:]:
            rows[name] = told[name]
        return rows

    def _needs_gradient(self) -> bool:
        needs = getattr(self.selection.fitness, "facts", {}).get("needs")
        return not needs

    @property
    def most_mass(self) -> float:
        """The largest possible mass; larger ones are clipped."""
        return 1e30 if self.dtype == "float32" else 1e300

    # ---- current state -----------------------------------------------------------------------

    @property
    def generation(self) -> int:
        """Number of generations so far."""
        return int(self._core.state()["generation"])

    @property
    def mass(self) -> Any:
        """Masses by birth id, 0 if extinct: (born,), by layer."""
        return self._split(self._core.state()["mass"])

    @property
    def alive(self) -> Any:
        """True for living populations, by birth id: bool (born,), by layer."""
        return self._split(self._core.state()["alive"] > 0)

    @property
    def births(self) -> Any:
        """Birth ids of living populations, ascending: int64 (alive,), by layer."""
        found = {n: np.flatnonzero(a) for n, a in self._by_layer(self._living()).items()}
        return found if self._named else found[ONE]

    @property
    def fitness(self) -> Any:
        """Smoothed fitness in nats, NaN if extinct.

        One array (born,) for each layer, indexed by birth id.
        """
        return self._split(self._core.price(self._pressure or 0.0)[0])

    @property
    def upkeep(self) -> Any:
        """Upkeep by birth id, in nats, NaN if extinct: (born,), by layer.

        This is the upkeep of the next generation if pressure and fitness do not change.
        """
        return self._split(self._core.price(self._pressure or 0.0)[1])

    @property
    def cost(self) -> Any:
        """Relative costs of populations by birth id: float64 (born,), by layer."""
        return self._split(self._core.state()["costs"])

    @cost.setter
    def cost(self, cost: ByLayer) -> None:
        costs = self._flat("cost", cost, dtype=np.float64)
        if np.isnan(costs).any():  # costs of living populations only were given
            costs = np.where(np.isnan(costs) & ~self._living(), 0.0, costs)
        self._core.restore(costs=costs)

    @property
    def extinct(self) -> Array:
        """All deaths so far: generation, layer, birth, mass, fitness.

        A structured array with one row per population, in the order of death.
        """
        return np.concatenate(self._deaths) if self._deaths else np.zeros(0, DEATH)

    @property
    def lineage(self) -> Array:
        """All births so far: generation, layer, birth, parent, mass, fitness.

        A structured array with one row per population, in the order of birth.
        """
        return np.concatenate(self._births) if self._births else np.zeros(0, BIRTH)

    # ---- state -------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of the state that the next step depends on: plain values and arrays."""
        state = self._core.state()
        later = {"next_births": list(self._sizes), "lineage": self.lineage} if self._births else {}
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
            **later,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state of a community with the same layers and seed.

        Raises:
            KeyError: an entry is missing; the community is unchanged.
            ValueError: layers, seed or the shape of an array differ; the community is unchanged.
        """
        if dict(state["born"]) != self.born or list(state["born"]) != list(self.born):
            raise ValueError(f"state: expected layers {self.born}, got {dict(state['born'])}")
        if state["seed"] != self.seed:
            raise ValueError(f"state: expected seed {self.seed}, got {state['seed']}")
        deaths = np.asarray(state["extinct"]).astype(DEATH)
        pressure, held = state["pressure"], int(state["floor_reached"])
        sizes = [int(n) for n in state.get("next_births", self.born.values())]
        births = np.asarray(state.get("lineage", np.zeros(0, BIRTH))).astype(BIRTH)
        if any(n < now for n, now in zip(sizes, self._sizes, strict=True)):
            raise ValueError(f"state: expected at least {self._sizes} born by layer, got {sizes}")
        self._core.restore(
            next_births=np.array(sizes, np.int64),
            mass=state["mass"],
            fitness=state["fitness"],
            alive=state["alive"],
            memory=state["memory"],
            costs=state["cost"],
            generation=state["generation"],
        )
        self._deaths = [deaths] if len(deaths) else []
        self._births = [births] if len(births) else []
        self._pressure, self.floor_reached, self._sizes = pressure, held, sizes

    def __reduce__(self) -> tuple[Any, ...]:
        born = self.born if self._named else self._founded
        return _again, (born, self.selection, self.seed, self.dtype, self.state_dict())

    def __repr__(self) -> str:
        living = self._by_layer(self._living())
        counts = ", ".join(f"{n}: {int(a.sum())} of {len(a)}" for n, a in living.items())
        return f"Community({counts} alive, {self.generation} generations, {self.selection!r})"

    # ---- arrays by layer and flat arrays -------------------------------------------------------

    def _living(self) -> Array:
        return np.asarray(self._core.state()["alive"] > 0)

    def _by_layer(self, flat: Array) -> dict[str, Array]:
        parts = np.split(flat, np.cumsum(self._sizes)[:-1])
        return dict(zip(self.layers, parts, strict=True))

    def _split(self, flat: Array) -> Any:
        return self._by_layer(flat) if self._named else flat

    def _flat(self, name: str, values: ByLayer, *, dtype: Any = None, living: bool = True) -> Array:
        """Join values by layer into one array over all populations born so far.

        Args:
            name: name of the argument, for error messages.
            values: values by layer, or one array if `born` was a plain number.
            dtype: dtype of the result; by default the community's.
            living: also accept arrays of living populations only; extinct ones get NaN.
        """
        dtype = dtype or np.dtype(self.dtype)
        if (
            isinstance(values, np.ndarray)
            and values.shape == (self._founded,)
            and np.can_cast(values.dtype, dtype, "same_kind")
        ):
            return np.ascontiguousarray(values, dtype)
        if isinstance(values, Mapping) != self._named:
            wanted = "a mapping from layers to arrays" if self._named else "an array"
            raise TypeError(f"{name}: expected {wanted}, got {type(values).__name__}")
        parts: dict[str, Any] = dict(values) if isinstance(values, Mapping) else {ONE: values}
        if set(parts) != set(self.born):
            raise ValueError(
                f"{name}: expected the layers {', '.join(self.layers)}, got {', '.join(parts)}"
            )
        flat = np.empty(sum(self._sizes), dtype)
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
