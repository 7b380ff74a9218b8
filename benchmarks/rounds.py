"""Interleaved timing, A B C A B C ..., so that changes of the machine's speed affect all equally.

One contestant runs at a time; the others are idle: those of this process are not called, and the
peers' processes wait for a line on a pipe. Thread pools of libraries spin for a while after work
(OpenMP, OpenBLAS: up to about 30 ms) and would take processors from the next contestant, so every
turn begins with a pause, followed by calls that are not counted.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from common import HERE, ROOT
from stopwatch import Turn, turn

PAUSE = 0.06  # seconds before a turn
QUIET = 0.1  # a turn is repeated if other work used more than this number of processors
TRIES = 6  # maximum number of tries of a turn
NEAR = 150  # maximum round trip in ns between processors that share a cache
MORE = 3  # maximum of near and far rounds together, as a multiple of the rounds that count


class Contestant(Protocol):
    """Something that can be timed."""

    name: str

    def time(self, seconds: float) -> Turn:
        """Run for about `seconds`, and return the measurements."""

    def close(self) -> None:
        """Release its resources."""


class Local:
    """A contestant that runs in this process; run(n) makes n calls."""

    def __init__(self, name: str, run: Callable[[int], Any]) -> None:
        self.name, self.run = name, run

    def time(self, seconds: float) -> Turn:
        return turn(self.run, seconds)

    def close(self) -> None:
        pass


class Peers:
    """The Python interpreter of the peers, and its processes: one per library and thread count.

    The interpreter is given by EVOPRUNE_PEERS, or is .peers/bin/python, which `make peers`
    installs. Without it there are no peers, and benchmarks only time evoprune.
    """

    def __init__(self) -> None:
        named = os.environ.get("EVOPRUNE_PEERS", "")
        python = Path(named) if named else ROOT / ".peers" / "bin" / "python"
        self.python = python if python.exists() else None
        self.absent: dict[str, str] = {}  # library -> why it is absent
        self.versions: dict[str, str] = {}
        self._processes: dict[tuple[str, int, str], _Process] = {}
        if self.python is None:
            print("no peers: `make peers` installs PyTorch, JAX and others to compare with")

    def __enter__(self) -> Peers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes."""
        for process in self._processes.values():
            process.close()
        self._processes.clear()

    def ask(
        self, library: str, threads: int, whose: str = "", **request: Any
    ) -> dict[str, Any] | None:
        """Return the answer of the library's process; None if the library is missing or fails.

        Args:
            library, threads: library and number of threads of the process.
            whose: name of a contestant that has its own process; "" for the shared one.
            request: the request, sent as JSON.
        """
        if self.python is None or library in self.absent:
            return None
        key = (library, threads, whose)
        if key not in self._processes:
            process = _Process(self.python, library, threads)
            answer = process.ask(do="hello")
            if "error" in answer:
                self.absent[library] = answer["error"]
                print(f"without {library}: {answer['error']}")
                process.close()
                return None
            self._processes[key] = process
            self.versions[library] = answer["version"]
        answer = self._processes[key].ask(**request)
        if "error" in answer:
            print(f"{library} cannot: {answer['error']}")
            return None
        return answer

    def contestant(
        self,
        name: str,
        library: str,
        threads: int,
        make: str,
        *,
        alone: bool = False,
        **settings: Any,
    ) -> list[Contestant]:
        """Return a list with a contestant of peers.py, after one trial; empty if the trial fails.

        With `alone`, the contestant has a process that no other contestant uses.
        """
        key = (library, threads, name if alone else "")
        made = self.ask(*key, do="make", make=make, settings=settings)
        if made is None or not self.ask(*key, do="time", id=made["id"], seconds=0):
            return []
        return [_Remote(name, self._processes[key], made["id"])]

    def openblas(self) -> Path | None:
        """Return the shared library of scipy-openblas32, if the peers have it."""
        if self.python is None:
            return None
        code = "import scipy_openblas32 as s; print(s.get_lib_dir())"
        done = subprocess.run(
            [self.python, "-c", code], capture_output=True, text=True, check=False
        )
        found = list(Path(done.stdout.strip()).glob("libscipy_openblas*")) if done.stdout else []
        return found[0] if found else None


class _Process:
    """A process that runs peers.py: it answers each line of JSON with a line of JSON."""

    def __init__(self, python: Path, library: str, threads: int) -> None:
        self.library = library
        # OMP_WAIT_POLICY stays unset, because the value PASSIVE would slow the peers down.
        count = str(threads)
        environment = os.environ | {
            "OMP_NUM_THREADS": count,
            "OPENBLAS_NUM_THREADS": count,
            "MKL_NUM_THREADS": count,
            "JAX_PLATFORMS": "cpu",
        }
        environment.pop("PYTHONPATH", None)
        self.process = subprocess.Popen(
            [python, str(HERE / "peers.py"), library, count],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            return {"error": f"its process ended with status {self.process.wait()}"}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class _Remote:
    """A contestant that runs in a process of the peers."""

    def __init__(self, name: str, process: _Process, number: int) -> None:
        self.name, self._process, self._number = name, process, number

    def time(self, seconds: float) -> Turn:
        answer = self._process.ask(do="time", id=self._number, seconds=seconds)
        if "error" in answer:
            raise RuntimeError(f"{self.name}: {answer['error']}")
        return Turn(answer["ms"], answer["busy"], answer["others"])

    def close(self) -> None:
        self._process.ask(do="drop", id=self._number)


class Times(dict[str, list[float]]):
    """Milliseconds per call by contestant, one number per round.

    Attributes:
        busy: mean number of processors that each contestant kept busy.
        others: mean number of processors that other work used; times are reliable if this is near
            0.
        trip: median of nanoseconds from one processor to another and back; None if not measured.
        far: number of rounds that were dropped because processors were far apart.
    """

    busy: dict[str, float]
    others: float
    trip: float | None
    far: int

    def facts(self) -> dict[str, Any]:
        """Return facts about the quality of these times, for a result."""
        return {"busy": self.busy, "others": self.others, "trip_ns": self.trip, "far": self.far}


def contest(
    contestants: Sequence[Contestant],
    rounds: int,
    seconds: float,
    trip: Callable[[], float] | None = None,
) -> Times:
    """Time the contestants in turn, `rounds` times, each for about `seconds`, then close them.

    The first round is not counted, because libraries compile and caches fill during it. Every
    second round runs in reverse order. A turn disturbed by other work is repeated; if all tries are
    disturbed, the least disturbed one counts.

    Args:
        contestants: what to time.
        rounds: number of rounds that count.
        seconds: time of a turn.
        trip: function that returns the latency between processors in ns; needed for several
            threads. On some virtual machines two processors share a cache only at times, and a step
            takes 1.5 times as long when they do not. Such rounds are repeated, and used only if
            there are hardly any others.
    """
    near: list[dict[str, Turn]] = []
    far: list[dict[str, Turn]] = []
    trips: dict[bool, list[float]] = {True: [], False: []}
    at = 0
    while len(near) < rounds and len(near) + len(far) < (MORE if near else 1) * rounds:
        turns: dict[str, Turn] = {}
        told: list[float] = []
        for contestant in contestants if at % 2 else reversed(contestants):
            tries: list[Turn] = []
            while not tries or (tries[-1].others > QUIET and at and len(tries) < TRIES):
                time.sleep(PAUSE * (1 + 2 * len(tries)))
                told.append(trip() if trip else 0.0)
                tries.append(contestant.time(seconds))
            turns[contestant.name] = min(tries, key=lambda turn: turn.others)
        if at:
            together = max(told) < NEAR
            (near if together else far).append(turns)
            trips[together] += told
        at += 1
    for contestant in contestants:
        contestant.close()
    enough = len(near) >= min(3, rounds)
    used = near if enough else near + far
    names = [contestant.name for contestant in contestants]
    times = Times({name: [turns[name].ms for turns in used] for name in names})
    times.busy = {name: _mean(turns[name].busy for turns in used) for name in names}
    times.others = _mean(turn.others for turns in used for turn in turns.values())
    seen = trips[True] if enough else trips[True] + trips[False]
    times.trip = round(statistics.median(seen), 1) if trip else None
    times.far = len(far) if enough else 0
    if times.others > QUIET:
        print(f"disturbed: other work took {times.others:.2f} processors all the while")
    if far and not enough:
        print(f"processors were far apart: {times.trip:.0f} ns there and back")
    return times


def _mean(numbers: Iterable[float]) -> float:
    return round(statistics.fmean(numbers), 3)
