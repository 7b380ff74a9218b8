"""Arrays of a network by name: live views of the core's memory, as a mapping."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import (
    Callable,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    ValuesView,
)
from contextlib import AbstractContextManager

from evoprune.common.types import Array
from evoprune.common.warn import warn

__all__ = ["ArrayMapping", "Arrays", "Names"]


class Names(KeysView[str]):
    """The names of arrays: a set-like view, in the order of the layers."""

    _mapping: ArrayMapping

    def __getitem__(self, index: int) -> str:
        warn(
            "keys: expected no index, since names are a view; use list(network)",
            DeprecationWarning,
        )
        return list(self)[index]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self)})"


class _Values(ValuesView[Array]):
    """The arrays in a consistent state, also while another thread trains the network."""

    _mapping: ArrayMapping

    def __iter__(self) -> Iterator[Array]:
        return (array for _, array in self._mapping.moment())


class _Items(ItemsView[str, Array]):
    """Pairs (name, array) in a consistent state, also while another thread trains the network."""

    _mapping: ArrayMapping

    def __iter__(self) -> Iterator[tuple[str, Array]]:
        return iter(self._mapping.moment())

    def __contains__(self, item: object) -> bool:
        return any(item is pair for pair in self)  # `==` of arrays is elementwise


class ArrayMapping(Mapping[str, Array]):
    """A mapping from names to arrays of a network: views of the core's memory.

    Every access makes a new view, without the populations that have been removed. The removal of
    extinct populations allocates new arrays: an older view stays valid and keeps the values from
    before the removal. Two mappings are equal only if they are the same object, since arrays
    change during training.
    """

    @abstractmethod
    def _names(self) -> Iterable[str]:
        """Return the names, in order."""

    @abstractmethod
    def _array(self, name: str) -> Array:
        """Return a view of the array `name`, which must exist."""

    @abstractmethod
    def _lock(self) -> AbstractContextManager[object]:
        """Return the lock of the network that the arrays belong to."""

    def moment(self) -> list[tuple[str, Array]]:
        """Return pairs (name, array) in a consistent state."""
        with self._lock():
            return [(name, self._array(name)) for name in self._names()]

    def keys(self) -> Names:
        """Return the names of the arrays: "dense1.weight", "populations1.mass", ..."""
        return Names(self)

    def values(self) -> ValuesView[Array]:
        """Return the arrays in a consistent state."""
        return _Values(self)

    def items(self) -> ItemsView[str, Array]:
        """Return pairs (name, array) in a consistent state."""
        return _Items(self)

    def __getitem__(self, name: str) -> Array:
        if name not in (names := list(self._names())):
            raise KeyError(f"no array {name!r}; there are {', '.join(names)}")
        return self._array(name)

    def __contains__(self, name: object) -> bool:
        return name in list(self._names())

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._names()))

    def __len__(self) -> int:
        return len(list(self._names()))

    __hash__ = object.__hash__
    __eq__ = object.__eq__


class Arrays(ArrayMapping):
    """Arrays of one kind by name, such as the gradients of a network.

    Args:
        names: returns the names.
        get: returns the array of a name.
        lock: returns the network's lock.
    """

    def __init__(
        self,
        names: Callable[[], Iterable[str]],
        get: Callable[[str], Array],
        lock: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self._list, self._get, self._core = names, get, lock

    def _names(self) -> Iterable[str]:
        return self._list()

    def _array(self, name: str) -> Array:
        return self._get(name)

    def _lock(self) -> AbstractContextManager[object]:
        return self._core()

    def __repr__(self) -> str:
        lines = [f"{name}: {a.dtype} {a.shape}" for name, a in self.items()]
        return "\n".join(lines) or "no arrays"
