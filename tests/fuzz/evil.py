"""Arguments whose special methods change the other arguments of a call, or use its network.

`evil(random, value, room)` wraps a valid value, so that a call passes its checks and the change
comes while the call reads the value.
"""

from __future__ import annotations

import gc
from random import Random
from typing import Any

import numpy as np


class Marked(Exception):
    """Raised only by the special methods of evil objects; a call may let it through."""


class Room:
    """What evil objects can change: dicts and lists in the arguments of a call, and the network."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.containers: list[Any] = []
        self.network: Any = None
        self.budget = 0  # number of changes left in this call; limits recursion

    def collect(self, value: Any, depth: int = 0) -> None:
        """Remember the dicts and lists in an argument."""
        if depth < 4 and type(value) in (dict, list):
            self.containers.append(value)
            for item in value.values() if type(value) is dict else value[:20]:
                self.collect(item, depth + 1)

    def act(self) -> None:
        """Change a container, call the network or collect garbage; sometimes raise `Marked`."""
        if self.budget <= 0:
            return
        self.budget -= 1
        choice = self.random.randrange(10)
        if choice < 5 and self.containers:
            self._change(self.random.choice(self.containers))
        elif choice < 8 and self.network is not None:
            self._call(self.network)
        elif choice == 8:
            gc.collect()
        else:
            raise Marked

    def _change(self, container: Any) -> None:
        junk = [bytearray(64) for _ in range(4)]  # may reuse memory that the call has freed
        if not container:
            return
        if type(container) is dict:
            keys = list(container)
            key = keys[self.random.randrange(len(keys))]
            match self.random.randrange(4):
                case 0:
                    container.clear()
                case 1:
                    del container[key]
                case 2:
                    container[key] = junk
                case _:
                    container.update({f"new{i}": i for i in range(50)})
        else:
            match self.random.randrange(3):
                case 0:
                    container.clear()
                case 1:
                    container[self.random.randrange(len(container))] = junk
                case _:
                    container.extend(range(50))

    def _call(self, network: Any) -> None:
        core = getattr(network, "core", network)
        names = [t["name"] for t in core.describe()["tensors"]]
        layers = [p["layer"] for p in core.describe()["populations"]]
        match self.random.randrange(7):
            case 0:
                core.compact()
            case 1 if layers:
                core.kill(self.random.choice(layers), [0])
                core.compact()
            case 2:
                core.configure(selection={})
            case 3 if names:
                core.array(self.random.choice(names))
            case 4:
                core.scale_input(0.0, 1.0)
            case 5:
                core.restore(3, 3)
            case _:
                core.forward(np.zeros((1, *core.spec["input"]), np.float32), training=True)


class Evil:
    """An object that calls act() before it returns its value, in every conversion protocol."""

    def __init__(self, value: Any, room: Room) -> None:
        self.value, self.room = value, room

    def _give(self) -> Any:
        self.room.act()
        return self.value

    def __index__(self) -> int:
        return self._give()

    def __int__(self) -> int:
        return self._give()

    def __float__(self) -> float:
        return self._give()

    def __bool__(self) -> bool:
        return bool(self._give())

    def __len__(self) -> int:
        return len(self._give())

    def __iter__(self) -> Any:
        for item in self._give():
            self.room.act()
            yield item

    def __getitem__(self, key: Any) -> Any:
        return self._give()[key]

    def __call__(self, *args: Any, **more: Any) -> Any:
        return self._give()

    def __hash__(self) -> int:
        return hash(self._give())

    def __eq__(self, other: object) -> bool:
        return self._give() == other


class EvilArray(Evil):
    """An evil object that NumPy converts to an array."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(self._give(), dtype)


class EvilPath(Evil):
    """An evil object that is accepted as a path."""

    def __fspath__(self) -> str:
        return self._give()


class EvilText(str):
    """A str that calls act() when it is hashed or compared."""

    room: Room

    def __hash__(self) -> int:
        self.room.act()
        return str.__hash__(self)

    def __eq__(self, other: object) -> bool:
        self.room.act()
        return str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __str__(self) -> str:
        self.room.act()
        return str.__str__(self)


class EvilDict(dict[Any, Any]):
    """A dict that calls act() when its methods read it."""

    room: Room

    def __getitem__(self, key: Any) -> Any:
        self.room.act()
        return dict.__getitem__(self, key)

    def keys(self) -> Any:
        self.room.act()
        return dict.keys(self)

    def items(self) -> Any:
        self.room.act()
        return dict.items(self)

    def __iter__(self) -> Any:
        for key in dict.__iter__(self):
            self.room.act()
            yield key


def evil(random: Random, value: Any, room: Room) -> Any:
    """Return an evil object that holds a valid value."""
    if isinstance(value, str):
        text = EvilText(value)
        text.room = room
        return text if random.random() < 0.5 else EvilPath(value, room)
    if isinstance(value, dict):
        if random.random() < 0.5:
            made = EvilDict(value)
            made.room = room
            return made
        return {k: evil(random, v, room) if random.random() < 0.4 else v for k, v in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        if isinstance(value, list | tuple) and random.random() < 0.4:
            return [evil(random, v, room) if random.random() < 0.4 else v for v in value]
        return EvilArray(value, room)
    return (EvilArray if random.random() < 0.3 else Evil)(value, room)
