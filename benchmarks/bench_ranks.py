"""Speed-up of a step and bytes sent when several processes share the batch.

The MLP of the benchmarks and LeNet-5 on MNIST are trained by 1, 2, ... processes of `mpiexec` with
one thread each (`pip install 'evoprune[mpi]' mpich`). Milliseconds per step and bytes per step are
given for the network at birth and after selection. `adding` is the time per step in reductions
(allreduce), including waiting for other processes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import common
from common import Result

MPIEXEC = Path(sys.executable).parent / "mpiexec"  # from the wheel of mpich
CASES = {"mlp": 512, "lenet5": 256}  # network -> batch size
STEPS = 50  # steps per epoch


class Counted:
    """A communicator that counts bytes and seconds of its reductions."""

    def __init__(self, world: Any) -> None:
        self.world, self.log = world, []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.world, name)

    def Allreduce(self, sendbuf: Any, recvbuf: Any) -> None:
        """Sum the buffers of all processes, and record bytes and seconds."""
        begin = time.perf_counter()
        self.world.Allreduce(sendbuf, recvbuf)
        self.log.append((recvbuf.nbytes, time.perf_counter() - begin))


def rank(case: str, epochs: int) -> None:
    """Train as one of the processes; rank 0 prints a row."""
    from mpi4py import MPI

    import evoprune as ep

    ep.set_threads(1)
    world = Counted(MPI.COMM_WORLD)
    net = ep.mlp(784, 512, 256, 10, seed=0) if case == "mlp" else ep.lenet5(seed=0)
    selection = ep.Selection(dynamics=ep.Malthusian(lifespan=40), min_age=10)
    trainer = ep.Trainer(net, selection=selection, communicator=world)
    train, _ = ep.datasets.mnist()
    history = trainer.fit(train, epochs=epochs, steps=STEPS, batch_size=CASES[case], progress=False)

    def at(epoch: int) -> dict[str, float]:
        log = world.log[epoch * STEPS : (epoch + 1) * STEPS]
        milliseconds = float(history["ms_per_step"][epoch])
        adding = 1000 * sum(seconds for _, seconds in log) / max(1, len(log))
        return {"ms": milliseconds, "adding_ms": adding, "bytes": log[-1][0] if log else 0}

    if world.Get_rank() == 0:
        print(
            json.dumps(
                {
                    "case": case,
                    "batch": CASES[case],
                    "ranks": world.Get_size(),
                    "alive": sum(net.alive.values()),
                    "born": sum(net.born.values()),
                    "first": at(0),
                    "last": at(epochs - 1),
                }
            )
        )


def launch(case: str, ranks: int, epochs: int) -> dict[str, Any]:
    """Run `ranks` processes; return the row that rank 0 prints."""
    mpiexec = str(MPIEXEC) if MPIEXEC.exists() else shutil.which("mpiexec")
    if mpiexec is None:
        raise FileNotFoundError("mpiexec: not found; pip install 'evoprune[mpi]' mpich")
    done = subprocess.run(
        [mpiexec, "-n", str(ranks), sys.executable, __file__, "--rank", case, str(epochs)],
        env={**os.environ, "PYTHONPATH": str(common.ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"mpiexec: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure the cases at 1, 2, ... ranks up to the number of processors."""
    options = common.options(__doc__)
    result = Result("ranks", options, processes="mpiexec of mpich, a thread each")
    counts = [n for n in (1, 2, 4, 8) if n <= common.processors()]
    for case in CASES:
        if options.only in case:
            rows = {n: launch(case, n, 4 if options.quick else 8) for n in counts}
            for n, row in rows.items():
                speed_up = {at: rows[1][at]["ms"] / row[at]["ms"] for at in ("first", "last")}
                result.add(**{**row, "case": f"{case}, {n} ranks", "speed_up": speed_up})
                print(json.dumps(common.rounded({**row, "speed_up": speed_up})))
    result.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--rank"]:
        rank(sys.argv[2], int(sys.argv[3]))
    else:
        main()
