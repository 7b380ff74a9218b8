"""Ranks without MPI: threads of one process, with the methods of an mpi4py communicator.

`launch(n, function)` calls function(communicator) in n threads. Arrays are added up in the order of
the ranks, so that results are reproducible.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

WAIT = 60  # seconds until a test that hangs fails


class Aborted(Exception):
    """Raised in a rank if another rank has called `Abort`."""


class Shared:
    """Objects shared by the ranks of one launch."""

    def __init__(self, size: int) -> None:
        self.size, self.aborted = size, False
        self.barrier = threading.Barrier(size)
        self.slots: list[Any] = [None] * size
        self.kinds: list[str] = [""] * size


class Threads:
    """A rank's communicator. `sizes`: bytes of every reduction; `calls`: the names of all calls."""

    def __init__(self, rank: int, shared: Shared) -> None:
        self.rank, self.shared = rank, shared
        self.sizes: list[int] = []
        self.calls: list[str] = []

    def Get_rank(self) -> int:
        return self.rank

    def Get_size(self) -> int:
        return self.shared.size

    def _exchange(self, kind: str, value: Any) -> list[Any]:
        """Return the values of all ranks; raise if ranks call different operations."""
        self.calls.append(kind)
        shared = self.shared
        shared.slots[self.rank], shared.kinds[self.rank] = value, kind
        try:
            shared.barrier.wait(WAIT)
            every, kinds = list(shared.slots), set(shared.kinds)
            shared.barrier.wait(WAIT)
        except threading.BrokenBarrierError:
            raise Aborted("aborted" if shared.aborted else "the other ranks did not come") from None
        assert len(kinds) == 1, f"ranks call different operations: {kinds}"
        return every

    def Allreduce(self, sendbuf: Any, recvbuf: np.ndarray) -> None:
        assert sendbuf is None
        parts = self._exchange("Allreduce", recvbuf.copy())
        assert len({part.shape for part in parts}) == 1, "buffers of different sizes"
        recvbuf[:] = sum(parts[1:], parts[0])
        self.sizes.append(recvbuf.nbytes)

    def allgather(self, sendobj: Any) -> list[Any]:
        return [pickle.loads(one) for one in self._exchange("allgather", pickle.dumps(sendobj))]

    def Abort(self, errorcode: int) -> None:
        self.shared.aborted = True
        self.shared.barrier.abort()


def launch(size: int, function: Callable[[Threads], Any]) -> list[Any]:
    """Return function(communicator) of every rank; exceptions are returned, not raised."""
    shared = Shared(size)
    results: list[Any] = [None] * size

    def run(rank: int) -> None:
        try:
            results[rank] = function(Threads(rank, shared))
        except BaseException as error:
            results[rank] = error
            if not isinstance(error, Exception):
                raise

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * WAIT)
        assert not thread.is_alive(), "a rank hangs"
    return results
