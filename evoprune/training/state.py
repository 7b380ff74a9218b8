"""The state of a trainer: everything that a resumed run depends on, in memory or as one file.

A state is fully read and checked before any of it is used. Loss, optimizer and selection are not
part of it: they belong to the trainer and may be Python functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from evoprune.common.errors import FileFormatError
from evoprune.nets import file
from evoprune.nets.network import Network
from evoprune.records.history import History
from evoprune.training.run import Run

if TYPE_CHECKING:
    from evoprune.selection.settings import Selection
    from evoprune.training.callbacks import Callback
    from evoprune.training.trainer import Trainer

__all__ = ["State", "matched", "read", "remembered", "settings_of", "write"]

Memory = tuple[str, dict[str, Any]]  # name of a callback's class, and its state


class State(NamedTuple):
    """The state of a trainer.

    Attributes:
        network: the network.
        run, history: those of the last run; None before the first run.
        batches: number of batches drawn in earlier runs.
        standing: the trained network, if a callback has replaced it by another at the run's end.
        callbacks: states of callbacks.
    """

    network: Network
    run: Run | None
    history: History | None
    batches: int
    standing: Network | None
    callbacks: list[Memory]

    def as_dict(self) -> dict[str, Any]:
        """Return the state as a dict of plain values, bytes and copies of networks."""
        return {
            "network": self.network.copy(),
            "run": None if self.run is None else asdict(self.run),
            "history": None if self.history is None else self.history.to_bytes(),
            "batches": self.batches,
            "standing": None if self.standing is None else self.standing.copy(),
            "callbacks": [(kind, _copied(state)) for kind, state in self.callbacks],
        }

    @classmethod
    def of(cls, given: Mapping[str, Any], name: str = "state") -> State:
        """Make a state from a dict as `as_dict` returns it, after checking it.

        Raises:
            ValueError: an entry is missing or does not fit the rest.
        """
        network = given.get("network")
        if not isinstance(network, Network):
            raise ValueError(f"{name}: expected what Trainer.state() gives, with a network")
        standing = given.get("standing")
        if standing is not None and _kind(standing) != _kind(network):
            raise ValueError(f"{name}: standing: expected a network of the same spec and dtype")
        run = None if given.get("run") is None else Run.of(given["run"])
        content = given.get("history")
        history = None if content is None else History.from_bytes(content, f"{name}: history")
        batches = given.get("batches")
        if type(batches) is not int or batches < 0:
            raise ValueError(f"{name}: batches: expected a count, got {batches!r}")
        if (run is None) != (history is None):
            raise ValueError(f"{name}: expected a run and its history, got only one of them")
        if run is not None and history is not None:
            _agree(name, network, run, history)
        callbacks = [(str(k), dict(memory)) for k, memory in given.get("callbacks", ())]
        return cls(network, run, history, batches, standing, callbacks)


def write(state: State, path: str | PathLike[str]) -> None:
    """Write a network file that also holds the rest of the state."""
    extra = {"history": b"" if state.history is None else state.history.to_bytes()}
    if state.standing is not None:
        extra["standing"] = file.to_bytes(state.standing, moments=True)
    callbacks = []
    for i, (kind, memory) in enumerate(state.callbacks):
        networks = {k: v for k, v in memory.items() if isinstance(v, Network)}
        for name, network in networks.items():
            extra[f"callback{i}.{name}"] = file.to_bytes(network, moments=True)
        rest = {k: v for k, v in memory.items() if k not in networks}
        callbacks.append({"kind": kind, "values": rest, "networks": sorted(networks)})
    file.save(
        state.network,
        path,
        moments=True,
        facts={
            "run": None if state.run is None else asdict(state.run),
            "batches": state.batches,
            "callbacks": callbacks,
        },
        extra={name: np.frombuffer(content, np.uint8) for name, content in extra.items()},
    )


def read(path: str | PathLike[str]) -> State:
    """Read the state in a file.

    Raises:
        FileNotFoundError: there is no such file.
        FileFormatError: the file is damaged, inconsistent, or without a state; the message says
            which.
    """
    network, facts, extra = file.read(path, Network)
    if "run" not in facts or "history" not in extra:
        raise FileFormatError(
            f"{path}: a network, but without the state of a trainer; load() reads it"
        )
    try:
        content = {name: _bytes(name, array) for name, array in extra.items()}
        standing = content.get("standing")
        return State.of(
            {
                "network": network,
                "run": facts["run"],
                "history": content["history"] or None,
                "batches": facts.get("batches"),
                "standing": standing and file.from_bytes(standing, f"{path}: standing", Network),
                "callbacks": [
                    _memory(i, row, content, str(path))
                    for i, row in enumerate(facts.get("callbacks", ()))
                ],
            },
            str(path),
        )
    except FileFormatError:
        raise
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise FileFormatError(f"{path}: not the state of a trainer ({error})") from error


def remembered(callbacks: Sequence[Callback], before: Sequence[Memory]) -> list[Memory]:
    """Return the states of `callbacks`, then the states in `before` of other callbacks."""
    now = [(type(callback).__name__, callback.state()) for callback in callbacks]
    left = list(before)
    for kind, _ in now:
        index = next((i for i, (k, _) in enumerate(left) if k == kind), None)
        if index is not None:
            del left[index]
    return now + left


def matched(callbacks: Sequence[Callback], memories: Sequence[Memory]) -> list[dict[str, Any]]:
    """Return a state for each callback: the first unused state of its class, or {}."""
    left, found = list(memories), []
    for callback in callbacks:
        kind = type(callback).__name__
        index = next((i for i, (k, _) in enumerate(left) if k == kind), None)
        found.append({} if index is None else left.pop(index)[1])
    return found


def settings_of(trainer: Trainer, run: Run, selection: Selection | None) -> dict[str, Any]:
    """Return the settings of a run for its history, as plain values and texts."""
    return {
        "network": trainer.network.spec,
        "dtype": trainer.network.dtype,
        "loss": repr(trainer.loss),
        "optimizer": repr(trainer.optimizer),
        "selection": repr(selection),
        "run": {name: value for name, value in asdict(run).items() if name != "samples"},
    }


def _agree(name: str, network: Network, run: Run, history: History) -> None:
    born = network.ever_born
    pairs = {
        "steps of an epoch": (run.per_epoch, history.per_epoch),
        "steps made": (run.done, history.steps_done),
        "layers": (tuple(born), history.layers),
        "populations born": (tuple(born.values()), history.ever_born),
    }
    for what, (one, other) in pairs.items():
        if one != other:
            raise ValueError(f"{name}: {what}: {one} in the run, {other} in its history")


def _kind(network: Network) -> tuple[Any, ...]:
    return network.spec, network.dtype


def _copied(memory: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v.copy() if isinstance(v, Network) else v for k, v in memory.items()}


def _bytes(name: str, array: Any) -> bytes:
    if array.dtype != np.uint8 or array.ndim != 1:
        raise ValueError(f"{name}: expected bytes, got {array.dtype} {array.shape}")
    content: bytes = array.tobytes()
    return content


def _memory(i: int, row: Any, content: Mapping[str, bytes], path: str) -> Memory:
    networks = {
        name: file.from_bytes(
            content[f"callback{i}.{name}"], f"{path}: callback{i}.{name}", Network
        )
        for name in row["networks"]
    }
    return str(row["kind"]), {**row["values"], **networks}
