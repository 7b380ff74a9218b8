"""One rank of a test with MPI: mpiexec -n N python mpi_rank.py CASE FOLDER.

Writes network and history to FOLDER/RANK.npz, or an error to FOLDER/RANK.txt.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from pathlib import Path

import numpy as np
import ranks_cases as cases
from mpi4py import MPI

import evoprune as ep


class Interrupted(cases.Batches):
    """Batches that send SIGINT to rank 1 at the start of the third epoch."""

    epochs = 0

    def __iter__(self):
        self.epochs += 1
        if self.epochs == 3 and MPI.COMM_WORLD.Get_rank() == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return super().__iter__()


class Fails(ep.Callback):
    def on_epoch_end(self, trainer, row):
        raise OSError("the disk is full")


class Dies(ep.Callback):
    """A callback that makes rank 0 run out of memory in the next step."""

    def on_epoch_end(self, trainer, row):
        def lost(buffer):
            raise MemoryError("no memory left")

        trainer._ranks.argument = (0, trainer._ranks.size, lost)


def write(path, network, history):
    """Write the arrays, columns and counts that the test compares."""
    columns = {f"column {name}": history[name] for name in cases.COLUMNS if name in history}
    counts = {"epochs": history.epochs_done, "interrupted": history.interrupted}
    arrays = {f"array {name}": network[name] for name in network}
    np.savez(path, **arrays, **columns, **counts)


def main(case, folder):
    """Train a case on this rank, and write its result or its error."""
    warnings.simplefilter("ignore", ep.NothingCanDie)
    world = MPI.COMM_WORLD
    place = Path(folder) / str(world.Get_rank())
    more = {}
    if case == "interrupted":
        case, more = "plain", {"data": Interrupted(*cases.data("plain")), "y": None}
    elif case in ("fails", "dies"):
        more = {"callbacks": Fails() if case == "fails" else Dies()}
        case = "plain"
    elif case == "differs":
        case, more = "plain", {"seed": 3 + world.Get_rank()}
    try:
        write(place.with_suffix(".npz"), *cases.run(case, world, **more))
    except Exception as error:
        place.with_suffix(".txt").write_text(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
