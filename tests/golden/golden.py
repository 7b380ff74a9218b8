"""Training runs whose results are pinned bit for bit: `python tests/golden/golden.py --write`.

Every setting of every run is given here, so that changes of defaults do not affect them. A hash
covers every parameter, mass, fitness and moment at the end of a run, and every loss and death
during it. Results depend on the instruction set and the compiler of a core and on the C library's
exp and log, so hashes are stored for each combination; `--write` adds those of this machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

HASHES = Path(__file__).with_name("hashes.json")
ROOT = Path(__file__).resolve().parents[2]
LEVELS = ("base", "avx2", "avx512")

DYNAMICS: dict[str, dict[str, Any]] = {
    "malthusian": {
        "growth": "bounded", "lifespan": 5.0, "ceiling": 5.0, "strength": 10.0, "clip": 0.2
    },
    "replicator": {"strength": 300.0, "clip": 0.3},
    "replicator_mutator": {"strength": 300.0, "clip": 0.3, "mutation": 1e-6, "kernel": None},
    "logistic": {"strength": 300.0, "clip": 0.3, "capacity": 1.0},
    "lotka_volterra": {"strength": 300.0, "clip": 0.3, "capacity": 1.0, "interaction": None},
    "wright_fisher": {"strength": 300.0, "clip": 0.3, "size": 60.0},
    "moran": {"strength": 300.0, "clip": 0.3, "size": 30.0, "turnover": 0.2},
    "noisy_growth": {"strength": 300.0, "clip": 0.3, "noise": 0.02},
    "best_response": {
        "strength": 4.0, "alpha": 1.0, "beta": 1e-3, "gamma": 1e-2, "eta": 1e-4
    },
    "none": {},
}  # fmt: skip


def identity(level: str) -> str:
    """Return what the results of a core depend on: level, compiler, C library and machine.

    Raises:
        LookupError: the core of that level is not built, or names no compiler.
    """
    folder = ROOT / "evoprune" / "core"
    built = sorted(folder.glob(f"_core32_{level}.*"))
    if not built:
        raise LookupError(f"the core for {level} is not built")
    made = re.search(rb"(GCC|clang)[^\0]*?(\d+\.\d+\.\d+)\0", built[0].read_bytes())
    if made is None:
        raise LookupError(f"{built[0].name} does not name its compiler")
    library = " ".join(part for part in platform.libc_ver() if part)
    compiler = f"{made[1].decode().lower()} {made[2].decode()}"
    return f"{level}, {compiler}, {library}, {platform.machine()}"


def uniform(seed: int, *shape: int) -> Any:
    """Return an array of float32 numbers from -1 to 1, made by integer arithmetic only."""
    bits = np.arange(1, 1 + np.prod(shape), dtype=np.uint64) + np.uint64(seed * 1_000_003)
    for shift in (np.uint64(33), np.uint64(29)):
        bits = (bits ^ (bits >> shift)) * np.uint64(0xFF51AFD7ED558CCD)
    words = (bits >> np.uint64(40)).astype(np.float64)
    return (words / 2**23 - 1).astype(np.float32).reshape(shape)


def samples(n: int, classes: int, *shape: int) -> tuple[Any, Any]:
    """Return samples of a shape, in classes that are linearly separable."""
    x = uniform(1, n, *shape)
    plane = uniform(2, int(np.prod(shape)), classes)
    return x, (x.reshape(n, -1).astype(np.float64) @ plane.astype(np.float64)).argmax(1)


def selection(pressure: Any = 1.5, law: str = "malthusian", **changes: Any) -> Any:
    """Return a selection with every setting given."""
    from evoprune.core.spec import known
    from evoprune.selection.groups import Dynamics
    from evoprune.selection.settings import Selection

    soft = law == "malthusian"
    config = DYNAMICS[law] | changes.pop("config", {})
    settings = {
        "fitness": "taylor" if soft else "marginal",
        "upkeep": "soft" if soft else "macs",
        "niche": "layer",
        "memory": 0.9,
        "threshold": 1e-3 if soft else 0.2,
        "floor": 1,
        "min_age": 5,
        "every": 1,
        "rest": 0.0,
        "clock": "rate",
        "removal": "auto",
    } | changes
    return Selection(pressure, dynamics=known(Dynamics)[law](**config), **settings)


def mlp(dtype: str = "float32") -> Any:
    from evoprune.nets import zoo

    return zoo.mlp(12, 24, 16, 3, activation="relu", inputs=False, seed=3, dtype=dtype)


def trained(
    network: Any,
    data: tuple[Any, Any],
    by: Any,
    *,
    epochs: int = 8,
    batch: int = 30,
    threads: int = 1,
    clip: float = 0.0,
    loss: str = "cross_entropy",
    stop: float | None = None,
) -> str:
    """Train and return a hash; with `stop`, a second trainer resumes the run at that epoch."""
    import evoprune as ep
    from evoprune.core.spec import known
    from evoprune.selection.groups import Loss
    from evoprune.selection.schedules import Schedule

    def trainer(of: Any) -> Any:
        config = {"label_smoothing": 0.0, "class_weights": None} if loss == "cross_entropy" else {}
        optimizer = ep.AdamW(
            Schedule("cosine", 4e-3, 0.0, 0.0),
            clip=clip, weight_decay=0.3, beta1=0.9, beta2=0.999, epsilon=1e-8,
        )  # fmt: skip
        return ep.Trainer(of, loss=known(Loss)[loss](**config), optimizer=optimizer, selection=by)

    ep.set_threads(threads)
    run = trainer(network)
    history = run.fit(
        data,
        epochs=epochs,
        batch_size=batch,
        shuffle=True,
        augment=None,
        progress=False,
        until=stop,
        record_every=7,
    )
    if stop is not None:
        again = trainer(network)
        again.restore(run.state())
        history, network = again.resume(data, progress=False), again.network
    network.compact()
    return digest(network, history)


def digest(network: Any, history: Any) -> str:
    """Return a hash of a network and its history."""
    hashed = hashlib.sha256(f"{network.step} {network.generation}".encode())
    deaths = history.extinctions
    for array in (history.batch_losses, *(deaths[n] for n in ("step", "birth", "mass", "fitness"))):
        hashed.update(np.ascontiguousarray(array).tobytes())
    hashed.update(" ".join(map(str, deaths["layer"])).encode())
    first, second = network.moments
    for name in sorted(network):
        if not name.endswith(".state"):  # the state of a law is not a result
            hashed.update(name.encode())
            for of in (network, first, second):
                hashed.update(np.ascontiguousarray(of[name]).tobytes())
    return hashed.hexdigest()[:20]


def runs() -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield the name of every run, and a function that returns its hash."""
    from evoprune.nets import zoo
    from evoprune.selection.budget import Budget

    table = samples(120, 3, 12)
    image = samples(60, 4, 16, 16, 1)
    small = samples(60, 4, 8, 8, 2)
    text = (uniform(5, 60, 8) * 3 + 3).astype(np.int64)

    for threads in (1, 3):
        yield (
            f"mlp, {threads} threads",
            lambda t=threads: trained(mlp(), table, selection(), threads=t),
        )
    yield "mlp, no selection", lambda: trained(mlp(), table, None)
    yield "mlp, clip", lambda: trained(mlp(), table, selection(), clip=0.5)
    yield (
        "mlp, float64",
        lambda: trained(mlp("float64"), table, selection(0.15, "replicator"), threads=2),
    )
    yield "mlp, stopped and resumed", lambda: trained(mlp(), table, selection(), stop=3.3)
    budget = Budget(macs=0.3, params=None, alive=None, start=1.0, by=0.6)
    yield "mlp, budget", lambda: trained(mlp(), table, selection(budget), epochs=16)
    for law in DYNAMICS:
        if law != "malthusian":
            yield (
                f"mlp, {law}",
                lambda law=law: trained(mlp(), table, selection(0.15, law), threads=2, epochs=12),
            )
    raw = {"growth": "raw", "strength": 20.0}
    for upkeep in ("macs", "params", "uniform", tuple(0.001 * (i % 7) for i in range(40))):
        named = upkeep if isinstance(upkeep, str) else "given"
        yield (
            f"mlp, raw growth, {named}",
            lambda u=upkeep: trained(
                mlp(),
                table,
                selection(1.0, config=raw, upkeep=u, fitness="marginal", threshold=0.2),
            ),
        )
    for removal in ("always", "never"):
        yield (
            f"mlp, removal {removal}",
            lambda r=removal: trained(
                mlp(), table, selection(removal=r, floor=3, every=2, rest=0.2, clock="steps")
            ),
        )
    yield (
        "mlp, niche network",
        lambda: trained(mlp(), table, selection(0.15, "replicator", niche="network"), epochs=12),
    )
    for fitness in ("marginal", "relative", "worth", "gradient", "magnitude", "activity", "pull"):
        yield (
            f"mlp, {fitness}",
            lambda f=fitness: trained(mlp(), table, selection(fitness=f), epochs=5),
        )
    yield (
        "mlp, squares",
        lambda: trained(
            mlp(), (table[0], uniform(4, 120, 3)), selection(), loss="mean_squared_error", epochs=5
        ),
    )
    yield "mlp, inputs", lambda: trained(
        zoo.mlp(12, 24, 3, activation="gelu", inputs=True, seed=4, dtype="float32"),
        table, selection(),
    )  # fmt: skip
    for threads in (1, 2):
        yield f"lenet5, {threads} threads", lambda t=threads: trained(
            zoo.lenet5((16, 16, 1), 4, filters=(4, 8), neurons=24, seed=5, dtype="float32"),
            image, selection(), epochs=8, batch=20, threads=t,
        )  # fmt: skip
    yield "cnn, batch norm", lambda: trained(
        zoo.cnn((8, 8, 2), (8, 12), 4, kernel=3, activation="relu", norm=True, inputs=False,
                seed=6, dtype="float32"),
        small, selection(), epochs=8, batch=20, threads=2,
    )  # fmt: skip
    for living in (False, True):
        yield f"resnet, living stream {living}", lambda alive=living: trained(
            zoo.resnet(8, 4, input=(8, 8, 2), outputs=4, living_stream=alive, seed=7,
                       dtype="float32"),
            small, selection(1.2), epochs=8, batch=20, threads=2,
        )  # fmt: skip
    for living in (False, True):
        yield f"vit, living stream {living}", lambda alive=living: trained(
            zoo.vit((8, 8, 2), 4, patch=4, dim=16, layers=2, heads=4, hidden=32, dropout=0.1,
                    living_dims=alive, living_stream=alive, seed=8, dtype="float32"),
            small, selection(1.2), epochs=10, batch=20, threads=2,
        )  # fmt: skip
    yield "charlm", lambda: trained(
        zoo.charlm(6, 8, dim=16, layers=1, heads=4, hidden=32, dropout=0.0, living_dims=False,
                   living_stream=False, seed=9, dtype="float32"),
        (text[:, :8], np.roll(text, -1, 1)), selection(), epochs=10, batch=20, threads=2,
    )  # fmt: skip


def computed() -> dict[str, str]:
    """Return the hash of every run, computed in this process."""
    import warnings

    import evoprune as ep

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ep.NothingCanDie)
        return {name: run() for name, run in runs()}


def at_level(level: str) -> dict[str, str]:
    """Return the hash of every run on the core for `level`, an instruction set of LEVELS.

    The runs are computed in a new process.

    Raises:
        LookupError: this machine has no such core, or cannot run it.
    """
    identity(level)
    environment = os.environ | {"EVOPRUNE_CPU": level, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, __file__], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    answer = json.loads(done.stdout)
    if answer.pop("variant") != level:
        raise LookupError(f"this processor cannot run the core for {level}")
    hashes: dict[str, str] = answer["hashes"]
    return hashes


def main() -> None:
    """Print the hashes of the core in use, or write those of every level that can run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="store the hashes of this machine")
    if not parser.parse_args().write:
        from evoprune import core

        print(json.dumps({"variant": core.variant, "hashes": computed()}))
        return
    stored = json.loads(HASHES.read_text()) if HASHES.is_file() else {}
    for level in LEVELS:
        try:
            stored[identity(level)] = at_level(level)
        except LookupError as error:
            print(f"{level}: {error}", file=sys.stderr)
    HASHES.write_text(json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
    main()
