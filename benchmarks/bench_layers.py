"""Time of a training step of convolutional and attention networks: evoprune against PyTorch.

All contestants do equal work: the same network, batch, AdamW, float32, batches drawn by shuffled
index. "ours" is evoprune under selection: it also computes fitness and a generation of the dynamics
at every step; masses hardly change (strength 1e-9), so that no population dies during timing.
"ours, dense" is the same without selection. PyTorch is eager; convolutions are timed with both of
its memory layouts.

The floor is the time of the step's matrix products alone, each computed in its fastest way, see
floor.py and products.py: patches of a convolution and blocks of a matrix are in cache, attention
is counted in full even if causal. "ideal" is a lower limit: all multiply-adds of the step at the
rate of a large square product.

The second part times the same networks with a half and a tenth of their populations alive. CASES
holds the targets of the first part, at two threads; the result states whether they are met.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import common
import numpy as np
from common import Result, exported
from floor import Floor
from ours import DECAY, RATE, Arena, row_of, training
from products import stages
from rounds import Contestant, Peers

ASKED_THREADS = 2
SHARES = (1.0, 0.5, 0.1)  # shares of the populations that are alive
VOCABULARY, CONTEXT = 65, 64


class Case(NamedTuple):
    """A network, its data, and its targets.

    Attributes:
        make: makes the network at birth.
        kind: name of the network in peers_layers.py.
        shape: sizes of the PyTorch network (see `shape_of`), except its living populations.
        data: makes its training set.
        batch: batch size.
        floor: target, the maximum of our time divided by the time of the floor.
        torch: target, the minimum of PyTorch's time divided by our time.
    """

    make: Callable[[], Any]
    kind: str
    shape: dict[str, Any]
    data: Callable[[], Any]
    batch: int
    floor: float
    torch: float


def _mnist() -> Any:
    import evoprune as ep

    return ep.datasets.mnist()[0]


def _colours() -> Any:
    """Return images of noise, 32 x 32 x 3: time does not depend on their content."""
    import evoprune as ep

    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (8192, 32, 32, 3), dtype=np.uint8)
    return ep.datasets.arrays(x, rng.integers(0, 10, 8192), shift=127.5, scale=1 / 73.9)


def _codes() -> Any:
    """Return windows of random characters; each target is the window one character later."""
    import evoprune as ep

    text = np.random.default_rng(0).integers(0, VOCABULARY, 16384 + CONTEXT, dtype=np.uint8)
    windows = np.lib.stride_tricks.sliding_window_view(text, CONTEXT)
    return ep.datasets.arrays(windows[:-1].copy(), windows[1:].astype(np.int64))


def cases() -> dict[str, Case]:
    import evoprune as ep

    vit = {"input": (28, 28, 1), "patch": 4, "dim": 64, "dims": 16}
    charlm = {"vocabulary": VOCABULARY, "context": CONTEXT, "dim": 128, "dims": 32}
    colors = (32, 32, 3)
    return {
        "LeNet-5": Case(ep.lenet5, "lenet5", {"input": (28, 28, 1)}, _mnist, 128, 1.5, 1.4),
        "CNN 32-64-128": Case(
            lambda: ep.cnn(colors, (32, 64, 128), 10),
            "cnn",
            {"input": colors},
            _colours,
            128,
            1.45,
            1.0,
        ),
        "charLM": Case(
            lambda: ep.charlm(VOCABULARY, CONTEXT), "charlm", charlm, _codes, 16, 1.45, 1.3
        ),
        "ViT": Case(ep.vit, "vit", vit, _mnist, 64, 1.7, 1.7),
    }


def living(case: Case, share: float) -> Any:
    """Return the network with this share of the populations of every layer, at least one."""
    net = case.make()
    if share < 1:
        net.prune(keep={layer: max(1, round(share * n)) for layer, n in net.alive.items()})
    return net


def shape_of(case: Case, net: Any) -> dict[str, Any]:
    """Return the arguments of peers_layers.py for the same network with living populations only."""
    by_kind: dict[str, list[int]] = {"filters": [], "heads": [], "neurons": []}
    for layer, n in net.alive.items():
        by_kind[layer.rstrip("0123456789")].append(n)
    shape = case.shape | {"filters": by_kind["filters"], "heads": by_kind["heads"]}
    if case.kind == "lenet5":
        shape["neurons"] = by_kind["neurons"][0]
    return shape | {"hidden": by_kind["neurons"]}


def ours(
    name: str, case: Case, share: float, data: Any, threads: int, selected: bool
) -> Contestant:
    """Return a contestant that trains the network with evoprune."""
    net = living(case, share)
    return training(name, net, data, case.batch, threads, selected=selected)


class Networks(Arena):
    """An Arena with the data of the cases and the speed of a large matrix product."""

    def __init__(self, peers: Peers, folder: Path, options: Any) -> None:
        super().__init__(peers, options)
        self.folder = folder
        self._data: dict[str, tuple[Any, dict[str, Any]]] = {}
        self._rates: dict[int, float] = {}

    def data(self, case: Case) -> tuple[Any, dict[str, Any]]:
        """Return a case's training set, and the paths of its files for the other libraries."""
        name = case.data.__name__
        if name not in self._data:
            data = case.data()
            self._data[name] = data, exported(data, self.folder, name)
        return self._data[name]

    def rate(self, threads: int) -> float | None:
        """Return the multiply-adds per second of a large square product."""
        if self.library is None or self.blas is None:
            return None
        if threads not in self._rates:
            self._rates[threads] = Floor(self.library, self.blas, threads).square()
        return self._rates[threads]

    def others(self, case: Case, net: Any, threads: int) -> list[Contestant]:
        """Return PyTorch in every variant that may be its fastest, each in a separate process.

        Earlier work of a process affects its times: if its allocator has adapted to smaller
        requests and returns memory to the system at every step, the step takes 50 % longer.
        """
        settings: dict[str, Any] = {
            "kind": case.kind,
            "shape": shape_of(case, net),
            "batch": case.batch,
            "data": self.data(case)[1],
            "decay": DECAY,
            "rate": RATE,
        }
        self.peers.close()
        add = partial(self.peers.contestant, alone=True)
        found = add("PyTorch", "torch", threads, "torch_layers", **settings)
        if case.kind in ("lenet5", "cnn"):
            settings["channels_last"] = True
            found += add("PyTorch, channels last", "torch", threads, "torch_layers", **settings)
        return found


def verdict(case: Case, row: dict[str, Any]) -> dict[str, Any]:
    """Return, for the floor and for PyTorch, the target and whether it is met."""
    against = row["times_ours"]
    ways = [name for name in against if name.split(",")[0] == "PyTorch"]
    found: dict[str, Any] = {}
    if "floor" in against:
        times = 1 / against["floor"]
        found["floor"] = {"at_most": case.floor, "is": times, "met": times <= case.floor}
    if ways:
        times = min(against[name] for name in ways)
        met = times >= case.torch if case.torch > 1 else times > 1
        found["PyTorch"] = {"at_least": case.torch, "is": times, "met": met}
    return found


def say(name: str, row: dict[str, Any]) -> None:
    cells = [f"{label} {of['median']:.3f}" for label, of in row["ms"].items()]
    if row["ideal_ms"]:
        cells.append(f"ideal {row['ideal_ms']:.3f}")
    print(f"{name}\n    ms: {', '.join(cells)}", flush=True)
    against = row["times_ours"]
    parts = [f"{1 / against['floor']:.2f} x floor"] if "floor" in against else []
    parts += [f"{n} takes {x:.2f} x" for n, x in against.items() if n.startswith("PyTorch")]
    print(f"    ours: {', '.join(parts)}", flush=True)
    for other, of in row.get("asked", {}).items():
        bound = f"at most {of['at_most']}" if "at_most" in of else f"at least {of['at_least']}"
        print(f"    {other}: {bound} x asked, {of['is']:.2f}: {'met' if of['met'] else 'NOT met'}")


def measure(arena: Networks, name: str, case: Case, share: float, threads: int) -> dict[str, Any]:
    """Time a case with a share of its populations alive; return a row of the result."""
    net = living(case, share)
    data, _ = arena.data(case)
    contestants = [ours("ours", case, share, data, threads, True)]
    if share == 1:
        contestants.append(ours("ours, dense", case, share, data, threads, False))
    parts = stages(net, case.batch)
    contestants += arena.floors(lambda floor: floor.step(parts), threads, own=share == 1)
    contestants += arena.others(case, net, threads)
    times = arena.time(contestants, threads)
    macs = sum(work.macs for stage in parts for phase in stage for work in phase[0])
    rate = arena.rate(threads)
    row = {
        "part": "cases" if share == 1 else "survivors",
        "network": name,
        "share": share,
        "batch": case.batch,
        "threads": threads,
        "alive": net.alive,
        "macs": net.macs,
        "step_macs": macs,
        "square_macs_per_s": rate,
        "ideal_ms": 1e3 * macs / rate if rate else None,
        **row_of(times),
    }
    if share == 1 and threads == ASKED_THREADS:
        row["asked"] = verdict(case, row)
    return row


def main() -> None:
    options = common.options(__doc__, [2, 1], rounds=(11, 3), seconds=(0.4, 0.15))
    result = Result("layers", options, rounds=options.rounds, seconds=options.seconds)
    with Peers() as peers, tempfile.TemporaryDirectory() as folder:
        arena = Networks(peers, Path(folder), options)
        for threads in options.threads:
            shares = SHARES if threads == ASKED_THREADS else SHARES[:1]
            for (name, case), share in product(cases().items(), shares):
                title = f"{name}, {100 * share:g} % alive, batch {case.batch}, {threads} threads"
                if options.only in title:
                    row = measure(arena, name, case, share, threads)
                    say(title, row)
                    result.add(**row)
        result.write(peers=peers.versions)
    result.close()


if __name__ == "__main__":
    main()
