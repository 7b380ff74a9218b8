"""The cost of recording, of the live view, of importing and of drawing.

Recording and the live view are measured as shares of a run of the paper's network on MNIST. Three
kinds of runs take turns: with the usual records, without records, and with records and the live
view in IPython, whose display messages are converted to JSON as in a notebook's kernel. The time
inside the calls that record and draw is also given. It is less noisy, but too low: a record ends
a series of steps in the core, and every series starts new threads. Importing is timed in new
processes with cached files. Plots are drawn and rendered from a run of that network.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import common
import floor
import numpy as np
from common import ROOT, Result, ratio, spread
from rounds import Contestant, Peers, Times, contest
from stopwatch import Turn, working

WIDTHS = (784, 512, 256, 10)
BATCH, RATE, DECAY = 128, 2e-3, 0.5
NEVER = 10**9
# Targets: recording and the live view as shares of a run's time; an import and a plot in ms.
ASKED = {"recording": 0.02, "live": 0.02, "import": 300.0, "plot": 1000.0}


class Once:
    """A contestant that makes one call per turn.

    Its time is what the call returns, in ms; if that is None, the duration of the call.
    """

    def __init__(self, name: str, call: Callable[[], float | None]) -> None:
        self.name, self._call = name, call

    def time(self, seconds: float) -> Turn:
        everybody, own, begin = working(), sum(os.times()[:4]), time.perf_counter()
        ms = self._call()
        wall = time.perf_counter() - begin
        busy = sum(os.times()[:4]) - own
        others = max(0.0, working() - everybody - busy)
        return Turn(1000 * wall if ms is None else ms, busy / wall, others / wall)

    def close(self) -> None:
        pass


# ---- runs ---------------------------------------------------------------------------------------


class Runs:
    """Runs of the network, with measurements of each.

    Attributes:
        inside: contestant -> for every run, the seconds inside recording and inside drawing.
        records: number of records of the last run that recorded.
    """

    def __init__(self, train: Any, epochs: int) -> None:
        self.train, self.epochs = train, epochs
        self.inside: dict[str, list[dict[str, float]]] = {}
        self.records = 0

    def contestant(self, name: str, **settings: Any) -> Once:
        def call() -> None:
            with clocked() as seconds:
                history = self.fit(**{"progress": False, **settings})
            self.inside.setdefault(name, []).append(seconds)
            self.records = max(self.records, len(history.record_steps))

        return Once(name, call)

    def fit(self, **settings: Any) -> Any:
        """Train a new network with the defaults; return the history."""
        import evoprune as ep

        net = ep.mlp(*WIDTHS, seed=0)
        trainer = ep.Trainer(
            net, optimizer=ep.AdamW(RATE, weight_decay=DECAY), selection=ep.Selection()
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ep.NothingCanDie)  # --quick trains for one epoch
            return trainer.fit(self.train, epochs=self.epochs, batch_size=BATCH, **settings)

    def share(self, name: str, what: str, ms: list[float]) -> float:
        """Return the median share of a contestant's runs spent inside recording or drawing."""
        of_run = [1000 * seconds[what] for seconds in self.inside[name][-len(ms) :]]
        return float(np.median(of_run) / np.median(ms))


@contextmanager
def clocked() -> Iterator[dict[str, float]]:
    """Sum the seconds inside recording and drawing within the context."""
    from evoprune.records.history import History
    from evoprune.training.live import Live

    seconds = {}

    def timed(what: str, call: Callable[..., Any]) -> Callable[..., Any]:
        seconds[what] = 0.0

        def method(*arguments: Any) -> None:
            begin = time.perf_counter()
            call(*arguments)
            seconds[what] += time.perf_counter() - begin

        return method

    record, draw = History.record, Live._draw
    History.record, Live._draw = timed("recording", record), timed("live", draw)
    try:
        yield seconds
    finally:
        History.record, Live._draw = record, draw


@contextmanager
def notebook() -> Iterator[list[int] | None]:
    """Run IPython as in a notebook; yield the sizes of its messages, or None without IPython."""
    try:
        from IPython.core.displaypub import DisplayPublisher
        from IPython.core.interactiveshell import InteractiveShell
        from traitlets.config import Config
    except ImportError:
        yield None
        return
    sizes: list[int] = []

    class Publisher(DisplayPublisher):
        def publish(self, data: Any, *_: Any, **more: Any) -> None:
            sizes.append(len(json.dumps([data, more]).encode()))

    config = Config()
    config.HistoryManager.enabled = False
    with tempfile.TemporaryDirectory() as folder:
        os.environ["IPYTHONDIR"] = folder
        shell = InteractiveShell.instance(config=config, display_pub_class=Publisher)
        shell.kernel = None  # only the shell of a notebook has this attribute
        try:
            yield sizes
        finally:
            InteractiveShell.clear_instance()


def runs(result: Result, options: argparse.Namespace) -> None:
    """Time recording and the live view in whole runs."""
    import evoprune as ep

    train, _ = ep.datasets.mnist()
    library = floor.library()
    for threads, epochs in itertools.product(options.threads, options.epochs):
        ep.set_threads(threads)
        trip = floor.trip_of(library, threads)
        work = Runs(train, epochs)
        contestants: list[Contestant] = [
            work.contestant("records"),
            work.contestant("no records", record_every=NEVER),
        ]
        with notebook() as sizes:
            if sizes is None:
                print("without IPython the live view is not timed")
            else:
                contestants.append(work.contestant("live", live=True))
            times = contest(contestants, options.rounds, 0, trip)
        facts: dict[str, Any] = {
            "ms": {name: spread(ms) for name, ms in times.items()},
            "threads": threads,
            "epochs": epochs,
            **times.facts(),
        }
        of = {"recording": ("records", "no records"), "live": ("live", "records")}
        for part, (name, without) in of.items():
            if name not in times:
                continue
            cost = ratio(times[name], times[without]) - 1
            inside = work.share(name, part, times[name])
            row = {"part": part, "cost": cost, "inside": inside, "records": work.records}
            more = f"{work.records} records"
            if part == "live":
                row["drawings"] = len(sizes) / len(work.inside["live"])
                row["bytes"] = float(np.median(sizes))
                more = f"{row['drawings']:.1f} drawings of {row['bytes'] / 1000:.0f} kB"
            result.add(**row, **facts)
            print(
                f"{part}, {epochs} epochs, {threads} threads: {100 * cost:+.2f} %, "
                f"{100 * inside:.2f} % inside of it (asked: < {100 * ASKED[part]:g} %), {more}",
                flush=True,
            )
    ep.set_threads(None)


# ---- importing ----------------------------------------------------------------------------------


def importing(module: str, python: Path) -> Once:
    """Time the import statement of a module alone, in a fresh process."""
    code = (
        "import time; begin = time.perf_counter(); "
        f"import {module}; print(1000 * (time.perf_counter() - begin))"
    )

    def call() -> float:
        done = subprocess.run(
            [python, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        return float(done.stdout)

    return Once(module, call)


def imports(result: Result, options: argparse.Namespace) -> None:
    """Time importing the package, NumPy (which it imports) and the peers."""
    contestants: list[Contestant] = [
        importing(module, Path(sys.executable)) for module in ("evoprune", "numpy")
    ]
    with Peers() as peers:
        if peers.python is not None:
            for module in ("torch", "jax"):
                found = importing(module, peers.python)
                try:
                    found.time(0)
                except subprocess.CalledProcessError:
                    print(f"no {module}")
                    continue
                contestants.append(found)
    times = contest(contestants, 15 if not options.quick else 5, 0)
    for name, ms in times.items():
        result.add(part="import", module=name, ms=spread(ms), **times.facts())
        print(f"import {name:17} {np.median(ms):.0f} ms")


# ---- drawing ------------------------------------------------------------------------------------


class Shown:
    """What the plots show: a run of 768 populations, and other networks.

    Attributes:
        net, history: the trained network and the history of its run.
        inputs, vit: a network with input populations, and a vision transformer.
        images: inputs for maps of attention.
        search: result of a search for a learning rate.
    """

    def __init__(self, quick: bool) -> None:
        import evoprune as ep

        train, test = ep.datasets.mnist()
        selection = ep.Selection(dynamics=ep.Malthusian(lifespan=300 if quick else 700))
        optimizer = ep.AdamW(RATE, weight_decay=DECAY)
        self.net = ep.mlp(*WIDTHS)
        trainer = ep.Trainer(self.net, optimizer=optimizer, selection=selection)
        run = {"epochs": 2 if quick else 20, "validation_data": test}
        self.history = trainer.fit(train, batch_size=BATCH, progress=False, **run)
        self.inputs, self.vit = ep.mlp(784, 300, 100, 10, inputs=True), ep.vit((28, 28, 1), 10)
        self.images = test.x[:1].reshape(1, 28, 28, 1)
        self.search = ep.find_learning_rate(ep.Trainer(ep.mlp(*WIDTHS)), train, steps=50)


PICTURES: dict[str, Callable[[Any, Shown], Any]] = {  # every function of evoprune.plot
    "features": lambda plot, of: plot.features(of.inputs),
    "filters": lambda plot, of: plot.filters(of.net),
    "fitness": lambda plot, of: plot.fitness(of.net),
    "heads": lambda plot, of: plot.heads(of.vit, of.images),
    "history": lambda plot, of: plot.history(of.history),
    "learning_rate": lambda plot, of: plot.learning_rate(of.search),
    "muller": lambda plot, of: plot.muller(of.history),
    "pareto": lambda plot, of: plot.pareto({"a run": [of.history]}),
    "phase": lambda plot, of: plot.phase(of.history),
    "price": lambda plot, of: plot.price(of.history),
    "structure": lambda plot, of: plot.structure(of.net),
    "survival": lambda plot, of: plot.survival(of.history),
    "trajectories": lambda plot, of: plot.trajectories(of.history),
}


def drawing(result: Result, options: argparse.Namespace) -> None:
    """Draw and render every picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    import evoprune as ep

    of = Shown(options.quick)

    def drawn(name: str) -> Once:
        def call() -> None:
            figure = np.ravel(PICTURES[name](ep.plot, of))[0].figure
            figure.canvas.draw()
            pyplot.close(figure)

        return Once(name, call)

    contestants: list[Contestant] = [drawn(name) for name in PICTURES]
    times: Times = contest(contestants, 3 if options.quick else 5, 0)
    for name, ms in times.items():
        result.add(part="plot", function=name, ms=spread(ms), **times.facts())
        late = " more than asked" * (float(np.median(ms)) > ASKED["plot"])
        print(f"plot.{name:19} {np.median(ms):.0f} ms{late}")


PARTS = {"runs": runs, "import": imports, "plot": drawing}


def main() -> None:
    options = common.options(__doc__, [2], epochs=([20, 3], [1]), rounds=(11, 3))
    result = Result(
        "costs", options, epochs=options.epochs, rounds=options.rounds, batch=BATCH, widths=WIDTHS
    )
    for name, part in PARTS.items():
        if options.only in name:
            part(result, options)
    result.write(asked=ASKED)
    result.close()


if __name__ == "__main__":
    main()
