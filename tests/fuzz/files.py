"""Mutated files of every kind that the package reads.

A file is either refused with FileFormatError or ValueError, or the loaded object is valid: it
passes the checks, and can be copied, saved, loaded and trained. Reading takes memory in proportion
to the file's size, and a failed restore leaves a trainer unchanged.
"""

from __future__ import annotations

import gzip
import io
import resource
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from itertools import count
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import numpy as np
import runs

import evoprune as ep
from fuzz import mutate
from fuzz.invariants import Broken, check, need
from fuzz.play import Watch, impatient
from fuzz.report import Fault, of_error
from fuzz.scene import FOLDER

REFUSED = (ValueError, ep.Diverged)  # FileFormatError is a ValueError
ROOM = 400 << 20  # bytes of address space that reading these small files may take
WIDE = 10_000  # networks with more input features are checked but not run
Change = Callable[[Random, bytes], tuple[bytes, str]]


# ---- valid files ---------------------------------------------------------------------------------


def _pair(network: ep.Network) -> tuple[Any, Any]:
    """Return two samples for a network and its loss."""
    x = np.zeros((2, *network.spec["input"]), np.float32)
    output = network.predict(x).shape
    if network.loss.kind == "cross_entropy":
        return x, np.zeros(output[:-1], np.int64)
    return x, np.zeros(output, np.float32)


@cache
def _networks() -> list[ep.Network]:
    made = [ep.mlp(6, 8, 5, 3), ep.cnn((6, 6, 2), [3, 4], 3), ep.mlp(4, 5, 2, inputs=True)]
    made += [ep.vit((8, 8, 1), 3, patch=4, dim=8, layers=1, heads=2)]
    made += [ep.Network(runs.spec((7,)), "float64"), ep.charlm("abcd", 4, dim=8, layers=1, heads=2)]
    for network in made:
        network.notes["vocabulary"] = "abcd"
        layer = next(iter(network.born))
        network.kill(layer, [1])
        network.compact()
    return made


@cache
def _trainer() -> ep.Trainer:
    selection = ep.Selection(1.5, dynamics=ep.Malthusian(lifespan=10), min_age=2)
    trainer = ep.Trainer(ep.mlp(6, 12, 3), selection=selection)
    # Histories hold times: use a simulated clock, so that a seed always gives the same file.
    with mock.patch("time.perf_counter", count(0, 0.001).__next__):
        trainer.fit(_data(), epochs=4, batch_size=10, progress=False, until=3.5)
    return trainer


@cache
def _data() -> tuple[Any, Any]:
    x, y = runs.data(rows=60)
    return x, y


@cache
def _whole(kind: str, number: int) -> bytes:
    """Return the content of a valid file; `number` selects a variant of its kind."""
    path = FOLDER / "whole"
    match kind:
        case "model":
            _networks()[number].save(path, moments=number % 2 == 0)
        case "state":
            _trainer().save(path)
        case "history":
            _trainer().history.save(path)
        case "idx" | "idx.gz":
            rank = 1 + number % 3
            head = bytes([0, 0, (8, 13)[number % 2], rank])
            size = 2**rank * (1, 4)[number % 2]
            content = head + b"\0\0\0\2" * rank + bytes(range(size))
            return gzip.compress(content, mtime=0) if kind == "idx.gz" else content
        case "resnet":
            return _resnet()
        case "cifar":
            return bytes([number % 10]) + bytes(3072)
        case "text":
            return ("The quick brown fox. äöü€ " * 8).encode()
    return path.read_bytes()


def _resnet() -> bytes:
    random, arrays = np.random.default_rng(0), {}

    def convolution(name: str, out: int, into: int) -> None:
        arrays[f"{name}.weight"] = random.normal(0, 0.1, (out, into, 3, 3)).astype("f4")

    def norm(name: str, n: int) -> None:
        parts = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
        arrays.update({f"{name}.{p}": np.full(n, value, "f4") for p, value in parts.items()})

    convolution("conv1", 2, 3)
    norm("bn1", 2)
    for stage, width in enumerate((2, 4, 8), 1):
        convolution(f"layer{stage}.0.conv1", width, width if stage == 1 else width // 2)
        convolution(f"layer{stage}.0.conv2", width, width)
        norm(f"layer{stage}.0.bn1", width)
        norm(f"layer{stage}.0.bn2", width)
    arrays["linear.weight"] = random.normal(0, 0.1, (10, 8)).astype("f4")
    arrays["linear.bias"] = np.zeros(10, "f4")
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


# ---- invariants ----------------------------------------------------------------------------------


def _judge_network(network: ep.Network) -> None:
    wide = np.prod(network.spec["input"], dtype=float) > WIDE
    check(network.core, predict=not wide, moments=False)
    repr(network), network.summary()
    other = network.copy()
    again = FOLDER / "again.safetensors"
    network.save(again, moments=True)
    loaded = ep.load(again)
    for name in network:
        for third in (other, loaded):
            need(np.array_equal(network[name], third[name], equal_nan=True), f"{name} is not kept")
    if wide:
        return  # a single sample needs more memory than the limit
    with suppress(ep.Diverged):
        trainer = ep.Trainer(loaded, loss=network.loss, selection=ep.Selection(1.0))
        trainer.fit(_pair(loaded), epochs=1, batch_size=2, progress=False)
        check(loaded.core, moments=False)


def _judge_model(path: Path) -> None:
    network = ep.load(path)
    _accepted(_judge_network, network)


def _judge_resnet(path: Path) -> None:
    _accepted(_judge_network, ep.load_resnet(path))


def _judge_history(path: Path) -> None:
    _accepted(_read_history, ep.History.load(path))


def _read_history(history: ep.History) -> None:
    repr(history), history._repr_html_(), history.batch_losses, history.labels, history.record_steps
    history.means(0), len(history.extinctions)
    for name in history:
        need(len(history[name]) == history.epochs_done, f"column {name}: another length")
    for layer in (None, *history.layers):
        for quantity in ("mass", "fitness", "upkeep"):
            history.trajectories(quantity, layer)
        history.diversity(1, layer), history.living(layer), history.mean_fitness(layer)
        history.fitness_variance(layer), history.price("fitness", layer), history.fisher(layer)
    history.save(FOLDER / "again.npz")
    again = ep.History.load(FOLDER / "again.npz")
    need(again.to_bytes() == history.to_bytes(), "saved and loaded it is another history")


def _digest(trainer: ep.Trainer) -> Any:
    state = trainer.state()
    network = state.pop("network")
    arrays = {name: network[name].tobytes() for name in network}
    return state, arrays, network.spec, network.notes, network.step, network.loss, trainer.history


def _judge_state(path: Path) -> None:
    trainer = _trainer()
    before = _digest(trainer)
    try:
        trainer.restore(path)
    except BaseException:
        if _digest(trainer) != before:
            _trainer.cache_clear()
            _accepted(lambda _: need(False, "restore: not all or nothing"), None)
        raise

    def goes_on(_: Any) -> None:
        check(trainer.network.core)
        if trainer.history is not None:
            _read_history(trainer.history)
        trainer.save(FOLDER / "again.safetensors")
        with suppress(ValueError, ep.Diverged):  # the state has no run, or a run on other data
            trainer.resume(_data(), progress=False, until=3.7)
        check(trainer.network.core)

    try:
        _accepted(goes_on, None)
    finally:
        _trainer.cache_clear()


def _judge_idx(path: Path) -> None:
    array = ep.datasets.read_idx(path)
    need(array.nbytes <= path.stat().st_size * 1100, "more numbers than there are bytes")
    array.sum()


def _judge_cifar(path: Path) -> None:
    for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        target = path.parent / name
        if not target.exists():
            target.write_bytes(_whole("cifar", 3))
    path.rename(path.parent / "data_batch_2.bin")
    train, test = ep.datasets.cifar10(path.parent)
    need(train.y.max() <= 9 and len(train) >= 5 and len(test) == 1, "labels or lengths")


def _judge_text(path: Path) -> None:
    text = ep.datasets.text(path, 4)
    need(text.decode(text.encode(text.vocabulary)) == text.vocabulary, "vocabulary")
    x, _ = text.train.batch(slice(3))
    need(int(x.max()) < len(text.vocabulary), "codes")


class Accepted(Exception):
    """Raised if a file was read without an error but its object failed in use; see the cause."""


def _accepted(judge: Callable[[Any], None], thing: Any) -> None:
    try:
        judge(thing)
    except Exception as error:
        raise Accepted from error


BY_BYTES: list[Change] = [mutate.by_bytes]
SAFETENSORS: list[Change] = [mutate.by_bytes, *2 * [mutate.by_header], mutate.by_tensor]
NPZ: list[Change] = [mutate.by_bytes, *2 * [mutate.by_arrays], mutate.by_member]
KINDS: dict[str, tuple[Callable[[Path], None], list[Change], str]] = {
    "model": (_judge_model, SAFETENSORS, "model.safetensors"),
    "state": (_judge_state, SAFETENSORS, "state.safetensors"),
    "history": (_judge_history, NPZ, "history.npz"),
    "resnet": (_judge_resnet, NPZ, "resnet.npz"),
    "idx": (_judge_idx, [mutate.by_bytes, mutate.by_dimensions], "a-idx3-ubyte"),
    "idx.gz": (
        _judge_idx,
        [mutate.gzip_bomb, mutate.packed(mutate.by_bytes), mutate.packed(mutate.by_dimensions)],
        "a-idx3-ubyte.gz",
    ),
    "cifar": (_judge_cifar, BY_BYTES, "cifar"),
    "text": (_judge_text, [mutate.by_bytes, mutate.by_text], "a.txt"),
}
OFTEN = ["model", "model", "state", "state", "history", *KINDS]


def _peak() -> int:
    """Return the peak memory of the process in bytes since the counter was reset."""
    with Path("/proc/self/status").open() as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))


def _set_back() -> int:
    with suppress(OSError), Path("/proc/self/clear_refs").open("w") as file:
        file.write("5")
    return _peak()


def mutated(seed: int) -> tuple[str, bytes, str]:
    """Return kind, content and description of the broken file that a seed determines."""
    random = Random(seed)
    kind = random.choice(OFTEN)
    changes = KINDS[kind][1]
    number = random.randrange(len(_networks()))
    content, told = _whole(kind, number), ""
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        with suppress(Exception):  # a second mutation may not apply to the result of the first
            content, one = random.choice(changes)(random, content)
            told += f"; {one}" if told else one
    return kind, content, f"{kind} {number}: {told}"[:600]


def case(seed: int, watch: Watch) -> Iterator[Fault | None]:
    """Mutate one file and read it; yield None, or a fault."""
    kind, content, detail = mutated(seed)
    judge, _, name = KINDS[kind]
    path = FOLDER / name
    path.write_bytes(content)
    watch(seed, f"{kind}({detail}")
    yield _read(kind, judge, path, seed, detail, len(content))
    # A loaded array may be mapped from the file, so do not overwrite it: use a new file.
    path.unlink(missing_ok=True)


def _read(kind: str, judge: Any, path: Path, seed: int, detail: str, size: int) -> Fault | None:
    old = resource.getrlimit(resource.RLIMIT_AS)
    begin = _set_back()
    limited = old[0] != resource.RLIM_INFINITY
    if limited:
        with Path("/proc/self/statm").open() as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (min(old[0], now + ROOM), old[1]))
    fault = None
    try:
        with impatient():
            judge(path)
    except REFUSED:
        pass
    except KeyboardInterrupt:
        fault = Fault("hang", kind, "takes longer than 2 s", seed, detail)
    except MemoryError:
        fault = Fault("memory", kind, f"MemoryError for {size:,} bytes", seed, detail)
    except Accepted as outer:
        cause = outer.__cause__
        if isinstance(cause, Broken):
            fault = Fault("inconsistent", kind, str(cause), seed, detail)
        elif cause is not None:
            fault = of_error(cause, f"{kind} accepted", seed, detail)
    except Exception as error:
        if not (isinstance(error, OSError) and kind in ("idx", "cifar", "text")):
            fault = of_error(error, kind, seed, detail)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, old)
    more = _peak() - begin
    if fault is None and more > (64 << 20) + 64 * size:
        fault = Fault("memory", kind, f"{more >> 20} MiB more for {size:,} bytes", seed, detail)
    return fault
