"""Data-parallel training: several processes (ranks) train copies of one network.

Every rank computes on its share of each batch. In every step the core sums gradients and statistics
over the ranks, in one buffer, so that all copies stay equal. Before every segment of steps (see
loop.py) the ranks agree on its length and on whether the run stops. An error on one rank ends the
run on all ranks.
"""

from __future__ import annotations

import functools
import os
import platform
import sys
import traceback
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, Protocol, Self, TypeVar

import numpy as np

from evoprune.common.renames import keywords
from evoprune.common.threads import get_threads
from evoprune.common.types import Array
from evoprune.data.table import Score, Table

if TYPE_CHECKING:
    from evoprune.nets.network import Network

__all__ = ["Communicator", "Plan", "Ranks", "cut", "data_facts", "digest", "together"]

SAMPLED = 512  # rows of the data that the ranks compare
AT_ONCE = 8192  # rows copied at a time for predictions
REQUIRED = ("Get_rank", "Get_size", "Allreduce", "allgather", "Abort")


class Communicator(Protocol):
    """A communicator: any object with the methods of mpi4py's communicators listed here."""

    def Get_rank(self) -> int:
        """Return the number of this rank, from 0."""

    def Get_size(self) -> int:
        """Return the number of ranks."""

    def Allreduce(self, sendbuf: Any, recvbuf: Any) -> None:
        """Add up the array `recvbuf` over all ranks, in place (sendbuf: None)."""

    def allgather(self, sendobj: Any) -> list[Any]:
        """Return the objects of all ranks, in order."""

    def Abort(self, errorcode: int) -> Any:
        """End all ranks at once."""


class Plan(NamedTuple):
    """What the ranks agree on before they run a number of steps (see loop.py)."""

    steps: int
    slowed: float
    stopping: bool
    interrupted: bool


class Ranks:
    """The ranks of a communicator, or this process alone.

    As a context manager, it ends the run on all ranks if one of them raises an error.

    Args:
        communicator: mpi4py's, or an object with the same methods; None: this process alone.

    Attributes:
        rank, size: the index of this rank, from 0, and the number of ranks.
        argument: the ranks as the core takes them: (rank, size, function that sums an array over
            the ranks); None for one process.

    Raises:
        TypeError: a method is missing; the message names it.
    """

    def __init__(self, communicator: Communicator | None = None) -> None:
        for name in REQUIRED if communicator is not None else ():
            if not callable(getattr(communicator, name, None)):
                raise TypeError(
                    "communicator: expected a communicator of mpi4py or an object with its "
                    f"methods, got {communicator!r} without {name}"
                )
        self._communicator: Any = communicator
        self.rank = 0 if communicator is None else int(communicator.Get_rank())
        self.size = 1 if communicator is None else int(communicator.Get_size())
        self.argument = None if self.size == 1 else (self.rank, self.size, self._add_up)
        self._inside = False  # True in a call of the core, where ranks wait for each other
        self._calls = 0  # number of sums over ranks in the current call of the core
        self._broken = False  # the last sum over ranks has failed
        self._known: BaseException | None = None  # an error known to all ranks

    @property
    def first(self) -> bool:
        """True on the rank that prints, writes files and calls callbacks."""
        return self.rank == 0

    # ---- exchange ----------------------------------------------------------------------------

    def _add_up(self, buffer: Array) -> None:
        """Add up an array over all ranks, in place; called by the core."""
        self._broken = True
        self._communicator.Allreduce(None, buffer)
        self._broken = False
        self._calls += 1

    @contextmanager
    def in_core(self) -> Iterator[None]:
        """Return the context for a call of the core that runs steps."""
        self._inside, self._calls = True, 0
        yield
        self._inside = False

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in order.

        Raises:
            RuntimeError: another rank has raised an error, which the message quotes.
        """
        if self.size == 1:
            return [value]
        told = self._communicator.allgather((None, value))
        errors = [f"rank {i}: {error}" for i, (error, _) in enumerate(told) if error]
        if errors:
            self._known = RuntimeError(f"training has stopped on all ranks; {'; '.join(errors)}")
            raise self._known
        return [value for _, value in told]

    def same(self, facts: dict[str, Any]) -> None:
        """Compare values that must be equal on all ranks.

        Raises:
            RuntimeError: a value differs; raised on all ranks.
        """
        every = self.gather(facts)
        for rank, others in enumerate(every):
            for name, value in every[0].items():
                if others[name] != value:
                    self._known = RuntimeError(
                        f"communicator: {name} differs between the ranks: rank 0 has {value!r}, "
                        f"rank {rank} has {others[name]!r}"
                    )
                    raise self._known

    def plan(self, steps: int, slowed: float, stopping: bool, interrupted: bool) -> Plan:
        """Return the plan of rank 0 for the next steps; any rank can stop or interrupt the run."""
        if self.size == 1:
            return Plan(steps, slowed, stopping, interrupted)
        plans = [Plan(*plan) for plan in self.gather((steps, slowed, stopping, interrupted))]
        first = plans[0]
        return first._replace(
            stopping=any(plan.stopping for plan in plans),
            interrupted=any(plan.interrupted for plan in plans),
        )

    def of_first(self, network: Network | None) -> Network | None:
        """Return the network passed on rank 0; on the other ranks, return a copy of it."""
        if self.size == 1:
            return network
        found: Network | None = self.gather(network if self.first else None)[0]
        return found if self.first or found is None else found.copy()

    # ---- validation --------------------------------------------------------------------------

    def score(self, network: Network, mine: Table) -> Score:
        """Return the score on the data of all ranks; `mine`: the samples of this rank."""
        return network.score(
            mine, lambda sums: [sum(part) for part in zip(*self.gather(tuple(sums)), strict=True)]
        )

    def outputs(self, network: Network, mine: Table) -> tuple[Array, Array]:
        """Return targets and outputs for the samples of all ranks, in the units of the targets."""
        parts = self.gather((network.in_units(mine.targets), predictions(network, mine)))
        if self.size == 1:
            return parts[0]  # type: ignore[no-any-return]
        return np.concatenate([y for y, _ in parts]), np.concatenate([p for _, p in parts])

    # ---- threads -----------------------------------------------------------------------------

    def threads(self) -> int:
        """Return the number of threads of this rank: by default, its share of the processors.

        A number set by the user (`set_threads`, EVOPRUNE_NUM_THREADS) applies to each rank.
        """
        most = get_threads()
        if self.size == 1:
            return most
        mine = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
        place = (platform.node(), mine)
        sharing = self.gather(place).count(place)
        by_default = most == (os.cpu_count() if mine is None else len(mine))
        return max(1, most // sharing) if by_default else most

    # ---- errors ------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._inside = self._broken = False
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the run on all ranks if this rank raises an error that no other rank knows yet."""
        known, self._known = self._known, None
        if error is None or self.size == 1 or error is known:
            return
        lost = self._inside and (self._broken or not self._calls or isinstance(error, MemoryError))
        if lost:  # the other ranks wait for a sum that this rank cannot join
            traceback.print_exception(error)
            sys.stderr.write(f"evoprune: rank {self.rank} has failed; all ranks are ended\n")
            sys.stderr.flush()
            self._communicator.Abort(1)
            return
        text = "".join(traceback.format_exception_only(error)).strip()
        for rank, (other, _) in enumerate(self._communicator.allgather((text, None))):
            if other and rank != self.rank and other != text:
                error.add_note(f"rank {rank}: {other}")


def predictions(network: Network, table: Table) -> Array:
    """Return outputs for the samples of a table, in parts, so that few rows are copied at once."""
    if table.rows is None:
        return network.predict(table.x)
    starts = range(0, max(1, len(table.rows)), AT_ONCE)
    return np.concatenate([network.predict(table.x[table.rows[i : i + AT_ONCE]]) for i in starts])


# ---- values that the ranks compare ---------------------------------------------------------------


def digest(network: Network) -> int:
    """Return a checksum of a network's arrays and of the birth ids of its living populations."""
    sum_of_all = 0
    for name in sorted(network.keys()):
        sum_of_all = zlib.crc32(np.ascontiguousarray(network[name]).tobytes(), sum_of_all)
    for layer in network.alive:
        sum_of_all = zlib.crc32(np.ascontiguousarray(network.births(layer)).tobytes(), sum_of_all)
    return sum_of_all


def data_facts(table: Table | None) -> Any:
    """Return number of samples, shapes and dtype of the data, and checksums of some rows."""
    if table is None:
        return None
    n = len(table.x if table.rows is None else table.rows)
    at = np.unique(np.linspace(0, n - 1, min(n, SAMPLED)).astype(np.int64))
    at = at if table.rows is None else table.rows[at]
    x, y = np.ascontiguousarray(table.x[at]), np.ascontiguousarray(table.y[at])
    sums = zlib.crc32(x.tobytes()), zlib.crc32(y.tobytes())
    return (n, table.x.shape[1:], str(table.x.dtype), table.y.shape[1:], *sums)


def cut(table: Table | None, rank: int, size: int) -> Table | None:
    """Return the part of a table that rank `rank` of `size` ranks evaluates."""
    if table is None or size == 1:
        return table
    n = len(table.x if table.rows is None else table.rows)
    part = slice(n * rank // size, n * (rank + 1) // size)
    if table.rows is not None:
        return table._replace(rows=table.rows[part])
    return table._replace(x=table.x[part], y=table.y[part])


# ---- methods of a trainer ------------------------------------------------------------------------

P = ParamSpec("P")
R = TypeVar("R")


def together(**names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a method of a trainer raise on all ranks if it raises on one.

    Args:
        names: current names of keywords by former name, see `renamed`.
    """

    def decorate(method: Callable[P, R]) -> Callable[P, R]:
        check = keywords(method, names)

        @functools.wraps(method)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            if not args:  # called through the class, without a trainer
                return method(*args, **kwargs)
            ranks: Ranks = args[0]._ranks  # type: ignore[attr-defined]
            with ranks:
                check(kwargs)
                return method(*args, **kwargs)

        return call

    return decorate
