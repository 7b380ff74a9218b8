"""Memory of training: of a network's arrays and of the process, and whether it grows.

Networks: bytes by kind of layer, at birth and with a tenth of the populations alive; the workspace
of one thread; and the peak of a process that trains, minus its memory with the package and the data
loaded, also for PyTorch. Kinds: small networks of one kind of layer, trained at several batch
sizes; only the activations may make the peak grow with the batch. Run: a whole training of the
paper's network. Compactions: memory while a thousand populations become extinct one at a time
during training, three times.

Every peak, Run and Compactions are measured in new processes. Sizes are for float32.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from math import prod
from pathlib import Path
from typing import Any

import common
import numpy as np
import resident
from bench_layers import Case, cases, living, shape_of
from common import Result, exported
from rounds import Peers

STEPS = 20  # training steps for measuring a peak
BATCHES = (32, 128, 512)
THREADS = 2
REAL = 4  # bytes per element
ARRAYS = 4  # values, gradients and two moments of every parameter
SLACK = 1.1  # maximum growth of the peak per sample, as a multiple of a sample's activations
LEAK = 1000  # maximum bytes leaked per compaction; a slab would be a thousand times as much


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of this file in a new process; return its result."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(function, *arguments).result()


def train(net: Any, data: Any, batch: int, steps: int, threads: int) -> None:
    """Run `steps` training steps under selection; masses hardly change."""
    import evoprune as ep

    selection = ep.Selection()
    net.scale_input(data.shift, data.scale)
    net.configure(optimizer="adamw", selection=selection.config())
    net.core.train(
        data.x,
        data.y,
        batch=batch,
        first=0,
        rate=np.full(steps, 1e-4),
        pressure=selection.pressures(steps),
        strength=np.full(steps, 1e-9),
        threads=threads,
    )


# ---- networks ---------------------------------------------------------------------------------


def peak_of_network(name: str, share: float, steps: int) -> int:
    """Return the peak bytes of making and training a network, without package and data."""
    case = cases()[name]
    data = case.data()
    resident.forget()
    before = resident.resident()
    train(living(case, share), data, case.batch, steps, THREADS)
    return resident.peak() - before


def by_kind(net: Any, batch: int) -> dict[str, dict[str, int]]:
    """Return by kind of layer the number of layers, and bytes of parameters and of activations.

    Parameters include tracked values; activations are the outputs of layers.
    """
    facts = net.describe()
    sizes = {axis["name"]: axis["n"] for axis in facts["axes"]}
    tensors = {t["name"]: prod(sizes[a] for a in t["axes"]) for t in facts["tensors"]}
    found: dict[str, dict[str, int]] = {}
    for layer in facts["layers"]:
        of = found.setdefault(layer["kind"], {"layers": 0, "parameters": 0, "activations": 0})
        of["layers"] += 1
        of["parameters"] += ARRAYS * REAL * sum(tensors[name] for name in layer["tensors"])
        of["activations"] += 2 * REAL * batch * prod(sizes[axis] for axis in layer["output"])
    return found


def anatomy(net: Any, data: Any, batch: int) -> dict[str, int]:
    """Return bytes of the core's arrays, by purpose; "worker" is the workspace of one thread."""
    made = net.nbytes
    train(net, data, batch, 1, 1)
    one = net.nbytes
    train(net, data, batch, 1, 2)
    worker = net.nbytes - one
    return {
        "all": net.nbytes,
        "parameters": made - worker,
        "activations": one - made,
        "worker": worker,
    }


def networks(peers: Peers, folder: Path, result: Result, options: Any) -> None:
    for name, case in cases().items():
        files: dict[str, Any] = {}
        for share in (1.0, 0.1):
            title = f"{name}, {100 * share:g} % alive"
            if options.only not in title:
                continue
            net, data = living(case, share), case.data()
            files = files or exported(data, folder, case.kind)
            row = {
                "part": "networks",
                "network": name,
                "share": share,
                "batch": case.batch,
                "threads": THREADS,
                "kinds": by_kind(net, case.batch),
                "arrays": anatomy(net, data, case.batch),
                "peak": {"ours": alone(peak_of_network, name, share, STEPS)},
            }
            row["peak"] |= peaks_of_peers(peers, case, shape_of(case, net), files)
            shown = ", ".join(f"{who} {size / 2**20:.1f}" for who, size in row["peak"].items())
            print(f"{title:28} peak, MB: {shown}", flush=True)
            result.add(**row)


def peaks_of_peers(
    peers: Peers, case: Case, shape: dict[str, Any], data: dict[str, Any]
) -> dict[str, int]:
    """Return PyTorch's peak bytes by memory layout, each measured in a new process."""
    found = {}
    layouts = (False, True) if case.kind in ("lenet5", "cnn") else (False,)
    for last in layouts:
        peers.close()
        settings = {"kind": case.kind, "shape": shape, "batch": case.batch, "data": data}
        answer = peers.ask(
            "torch",
            THREADS,
            do="call",
            call="torch_memory",
            settings={**settings, "steps": STEPS, "channels_last": last},
        )
        if answer is not None:
            found["PyTorch, channels last" if last else "PyTorch"] = int(answer["bytes"])
    return found


# ---- kinds ------------------------------------------------------------------------------------


def _kinds() -> dict[str, tuple[tuple[int, ...], Callable[[], list[Any]], int]]:
    """Return by kind of layer: the shape of a sample, a function that makes layers, and a count.

    The count is the number of elements per sample that naive code would store besides input and
    output: the patches of a convolution, the scores of attention.
    """
    import evoprune as ep

    image, text = (32, 32, 32), (64, 128)
    patches, scores = 32 * 32 * 9 * 32, 4 * 64 * 64
    return {
        "dense": (text, lambda: [ep.neurons(512)], 0),
        "conv2d": (image, lambda: [ep.filters(64, 3)], patches),
        "conv2d, depthwise": (image, lambda: [ep.Conv2d(0, 3, depthwise=True)], patches),
        "attention": (text, lambda: [ep.heads(4, 32)], scores),
        "batch_norm": (image, lambda: [ep.BatchNorm()], 0),
        "layer_norm": (text, lambda: [ep.LayerNorm()], 0),
        "max_pool": (image, lambda: [ep.MaxPool(2)], 0),
        "dropout": (text, lambda: [ep.Dropout(0.1)], 0),
    }


def _network_of(kind: str) -> Any:
    import evoprune as ep

    shape, layers, _ = _kinds()[kind]
    return ep.Sequential([*layers(), ep.MeanPool(), ep.Dense(10)], input=shape)


def _noise(shape: tuple[int, ...], n: int) -> Any:
    import evoprune as ep

    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (n, *shape), dtype=np.uint8)
    return ep.datasets.arrays(x, rng.integers(0, 10, n), shift=127.5, scale=1 / 73.9)


def peak_of_kind(kind: str, batch: int) -> int:
    """Return the peak bytes of making and training a network of one kind of layer."""
    data = _noise(_kinds()[kind][0], max(BATCHES))
    resident.forget()
    before = resident.resident()
    train(_network_of(kind), data, batch, 3, THREADS)
    return resident.peak() - before


def kinds(result: Result, options: Any) -> None:
    for kind, (shape, _, naive) in _kinds().items():
        if options.only not in f"kind {kind}":
            continue
        data = _noise(shape, max(BATCHES))
        arrays = {batch: anatomy(_network_of(kind), data, batch) for batch in BATCHES}
        peaks = {batch: alone(peak_of_kind, kind, batch) for batch in BATCHES}
        least, most = BATCHES[0], BATCHES[-1]

        def grows(of: dict[int, int], least: int = least, most: int = most) -> float:
            return (of[most] - of[least]) / (most - least)

        sample = grows({batch: of["activations"] for batch, of in arrays.items()})
        peak = grows(peaks)
        result.add(
            part="kinds",
            kind=kind,
            shape=shape,
            threads=THREADS,
            worker=arrays[most]["worker"],
            worker_grows=grows({batch: of["worker"] for batch, of in arrays.items()}),
            activations_a_sample=sample,
            peak={str(batch): size for batch, size in peaks.items()},
            peak_a_sample=peak,
            naive_a_sample=REAL * naive,
            met=peak <= SLACK * sample,
        )
        print(
            f"{kind:20} worker {arrays[most]['worker'] / 1024:.0f} kB; a sample: activations "
            f"{sample / 1024:.1f} kB, peak {peak / 1024:.1f} kB"
            + (f", laid out {REAL * naive / 1024:.0f} kB more" if naive else "")
            + f": {'met' if peak <= SLACK * sample else 'NOT met'}",
            flush=True,
        )


# ---- a run, and many compactions ----------------------------------------------------------------


def whole_run(epochs: int) -> dict[str, Any]:
    """Train the paper's network on MNIST with default selection; return a row of the result."""
    import evoprune as ep

    ep.set_threads(THREADS)
    data, test = ep.datasets.mnist()
    resident.forget()
    before = resident.resident()
    net = ep.mlp(784, 512, 256, 10)
    trainer = ep.Trainer(net, selection=ep.Selection(), optimizer=ep.AdamW(2e-3, weight_decay=0.5))
    founding = net.nbytes
    trainer.fit(data, epochs=epochs, batch_size=128, validation_data=test, progress=False)
    return {
        "epochs": epochs,
        "peak": resident.peak() - before,
        "founding": founding,
        "living": net.nbytes,
        "data": data.x.nbytes + test.x.nbytes,
        "alive": net.alive,
    }


def life(n: int) -> list[tuple[int, int, int]]:
    """Remove n populations one by one; return rows (removals, bytes of process, bytes of core)."""
    import evoprune as ep

    net = ep.mlp(784, 2 * n, 10)
    data, _ = ep.datasets.mnist()
    layer = next(iter(net.alive))
    seen = []
    for death in range(n + 1):
        train(net, data, 128, 1, THREADS)
        if death % (n // 20) == 0:
            seen.append((death, resident.resident(), net.nbytes))
        net.kill(layer, [death])
        assert net.compact()
    return seen


def compactions(n: int) -> dict[str, Any]:
    """Run life() three times in one process; the first run warms up the allocator.

    Memory that grows from the second run to the third, at the same number of removals, has leaked.
    """
    deaths, process, core = np.moveaxis(np.array([life(n) for _ in range(3)]), -1, 0)
    return {
        "compactions": n,
        "deaths": deaths[0].tolist(),
        "process": process.tolist(),
        "core": core[0].tolist(),
        "bytes_a_compaction": float(np.median(process[2] - process[1])) / n,
    }


def say_run(run: dict[str, Any]) -> None:
    sizes = (run[name] / 2**20 for name in ("peak", "founding", "living"))
    print("run: peak {:.1f} MB, the core's arrays {:.1f} MB at birth, {:.1f} MB now".format(*sizes))


def say_compactions(row: dict[str, Any]) -> None:
    sizes = ", ".join(f"{life[0] / 2**20:.0f} to {life[-1] / 2**20:.0f}" for life in row["process"])
    print(
        f"{row['compactions']} compactions: process {sizes} MB in three lives, "
        f"{row['bytes_a_compaction']:+.0f} bytes a compaction stay: "
        f"{'met' if row['met'] else 'NOT met'}"
    )


def main() -> None:
    options = common.options(__doc__)
    result = Result("memory", options, steps=STEPS, threads=THREADS)
    with Peers() as peers, tempfile.TemporaryDirectory() as folder:
        networks(peers, Path(folder), result, options)
        result.write(peers=peers.versions)
    kinds(result, options)
    if options.only in "run":
        run = alone(whole_run, 2 if options.quick else 20)
        result.add(part="run", threads=THREADS, **run)
        say_run(run)
    if options.only in "compactions":
        row = alone(compactions, 200 if options.quick else 1000)
        row["met"] = row["bytes_a_compaction"] < LEAK
        result.add(part="compactions", threads=THREADS, **row)
        say_compactions(row)
    result.close()


if __name__ == "__main__":
    main()
