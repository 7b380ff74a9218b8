"""What the compiled core offers. Made by tools/make_stubs.py of its text signatures."""

from typing import Any, Protocol

from numpy.typing import ArrayLike, NDArray

_Array = NDArray[Any]

__all__ = ["LEVELS", "core32", "core64", "variant"]

LEVELS: tuple[str, ...]
variant: str

class _Network(Protocol):
    def activation(self, name: str, of: str = "value") -> _Array: ...
    def array(self, name: str, of: str = "value") -> _Array: ...
    def backward(self, y: Any, weights: Any = None) -> float: ...
    def census(
        self, pressure: float, selection: dict[str, Any] | None = None
    ) -> dict[str, tuple[_Array, _Array, _Array, _Array]]: ...
    def check_data(self, x: Any, y: Any, rows: Any = None, weights: Any = None) -> None: ...
    def compact(self) -> bool: ...
    def configure(
        self,
        *,
        loss: str = "cross_entropy",
        loss_config: dict[str, Any] | None = None,
        optimizer: str = "adamw",
        optimizer_config: dict[str, Any] | None = None,
        clip: float = 0.0,
        selection: dict[str, Any] | None = None,
    ) -> None: ...
    def describe(self) -> dict[str, Any]: ...
    def evaluate(
        self,
        x: Any,
        y: Any,
        *,
        threads: int = 1,
        rows: Any = None,
        weights: Any = None,
        sums: Any = False,
    ) -> tuple[float, float, float]: ...
    def evolve(self, pressure: float, strength: float = 1.0) -> _Array: ...
    def forward(self, x: Any, training: bool = False) -> _Array: ...
    @property
    def founding_macs(self) -> float: ...
    @property
    def founding_parameters(self) -> int: ...
    @property
    def generation(self) -> int: ...
    def gradient(self) -> None: ...
    @property
    def input_scaling(self) -> tuple[Any, Any]: ...
    def kill(self, layer: str, births: Any) -> None: ...
    @property
    def least_rows(self) -> int: ...
    @property
    def macs(self) -> float: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def parameters(self) -> int: ...
    def predict(self, x: Any, threads: int = 1) -> _Array: ...
    @property
    def record(self) -> Any: ...
    def restore(self, step: int, generation: int, waste: Any = 0.0) -> None: ...
    @property
    def rows(self) -> int: ...
    def scale_input(self, shift: Any, scale: Any) -> None: ...
    def shrink(self, axes: dict[str, ArrayLike]) -> None: ...
    @property
    def spec(self) -> dict[str, Any]: ...
    @property
    def step(self) -> int: ...
    def train(
        self,
        x: Any,
        y: Any,
        *,
        batch: int,
        first: int,
        rate: Any,
        pressure: ArrayLike,
        strength: ArrayLike,
        shuffle: bool = True,
        threads: int = 1,
        augment: dict[str, Any] | None = None,
        rows: Any = None,
        weights: Any = None,
        keep: bool = True,
        ranks: Any = None,
    ) -> dict[str, Any]: ...
    def update(self, rate: float) -> None: ...
    @property
    def waste(self) -> float: ...

class _Community(Protocol):
    def price(self, pressure: float) -> tuple[_Array, _Array]: ...
    def restore(
        self,
        mass: Any = None,
        fitness: Any = None,
        alive: Any = None,
        memory: Any = None,
        costs: Any = None,
        generation: Any = None,
        next_births: ArrayLike | None = None,
    ) -> None: ...
    def state(self) -> dict[str, Any]: ...
    def step(
        self,
        pressure: float,
        strength: float,
        fitness: Any = None,
        mass_gradient: Any = None,
        owned_norm2: Any = None,
        owned_gradient2: Any = None,
        owned_product: Any = None,
        activity: Any = None,
        norm2: Any = None,
        overlap: Any = None,
        terms: float = 1.0,
    ) -> tuple[_Array, int, int, _Array]: ...

class _Core(Protocol):
    Diverged: type[ArithmeticError]
    dtype: str
    __name__: str
    def Network(
        self,
        spec: dict[str, Any],
        births: dict[str, Any] = ...,
        most: int = ...,
        next_births: dict[str, int] = ...,
    ) -> _Network: ...
    def Community(
        self,
        founded: ArrayLike,
        selection: dict[str, Any],
        seed: int = 0,
        threshold: float = -1.0,
    ) -> _Community: ...
    def catalogue(self) -> dict[str, Any]: ...
    def cpu_level(self) -> int: ...
    def dynamics_step(
        self,
        name: str,
        config: dict[str, Any] | None,
        mass: Any,
        fitness: Any,
        upkeep: Any = None,
        state: Any = None,
        birth: Any = None,
        born: int | None = None,
        overlap: Any = None,
        norm2: Any = None,
        threshold: float = 0.001,
        strength: float = 1.0,
        seed: int = 0,
        generation: int = 0,
    ) -> tuple[_Array, _Array]: ...
    def elementary(self, name: str, x: Any) -> _Array: ...
    def fitness_measure(
        self,
        name: str,
        config: dict[str, Any] | None,
        mass: Any,
        mass_gradient: Any,
        owned_norm2: Any = None,
        owned_gradient2: Any = None,
        owned_product: Any = None,
        activity: Any = None,
        terms: float = 1.0,
    ) -> _Array: ...
    def loss_measure(
        self, name: str, config: dict[str, Any] | None, y: Any, targets: Any, scale: Any = None
    ) -> Any: ...
    def optimizer_step(
        self,
        name: str,
        config: dict[str, Any] | None,
        value: Any,
        gradient: Any,
        first: Any = None,
        second: Any = None,
        rate: float = 0.001,
        decay: Any = None,
        scale: Any = 1.0,
        step: int = 1,
    ) -> Any: ...
    def random_binomial(self, seed: int, stream: int, size: int, trials: int, p: Any) -> Any: ...
    def random_fork(self, seed: int, stream: int, branch: Any) -> Any: ...
    def random_normal(self, seed: int, stream: int, start: int, n: int) -> Any: ...
    def random_permutation(self, seed: int, stream: int, n: int) -> Any: ...
    def random_uniform(self, seed: int, stream: int, start: int, n: int) -> Any: ...
    def random_words(self, seed: int, stream: int, start: int, n: int) -> Any: ...
    def settings(
        self, group: str, name: str, config: dict[str, Any] | None = None
    ) -> dict[str, Any]: ...

core32: _Core
core64: _Core
