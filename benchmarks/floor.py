"""The floor of a training step: the time of its matrix products alone, each split the fastest way.

For a layer with weights w (inputs, outputs), a step of an MLP computes the products y = x w,
dx = dy w' (not for the first layer, whose input needs no gradient) and dw = x' dy. Here x are
inputs, y outputs, dx, dy and dw gradients of the loss, and ' is the transpose. The floor
runs only these products, on arrays that stay in cache, with as many threads as the step. Each
thread calls single-threaded OpenBLAS, or our own product. A product is split between threads by
rows or columns of its result, or computed by one thread, and weights are stored (in, out) or (out,
in); trials find the fastest way. Threads synchronize only where one reads another's output. floor.c
is compiled on first use.

Other networks have products that would not stay in cache, or very many small ones: products.py
lists them and the ways to compute each, for example in blocks.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from common import HERE, ROOT
from products import BY_COLUMNS, BY_ONE, BY_ROWS, BY_TIMES, Product, Stage, Work, every_way

FLAGS = ["-O3", "-std=c11", "-fno-math-errno", "-ffp-contract=fast", "-shared", "-fPIC", "-pthread"]
FLAGS += ["-Werror=implicit-function-declaration"]
CPU = {
    "base": [],
    "avx2": ["-march=x86-64-v3"],
    "avx512": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
}


class _Product(ctypes.Structure):
    _fields_ = (
        [(name, ctypes.c_int32) for name in ("m", "n", "k", "turn_a", "turn_b", "split", "wait")]
        + [(name, ctypes.c_int32) for name in ("times", "add", "unused")]
        + [("apart", ctypes.c_int64)]
        + [(name, ctypes.c_void_p) for name in ("a", "b", "c")]
    )


def layer(at: int, batch: int, inputs: int, outputs: int, *, out_in: bool) -> list[Product]:
    """Return the products of one layer, forward, dx and dw, with weights (in, out) or (out, in)."""
    x, y, dx, dy, w, dw = f"x{at}", f"x{at + 1}", f"dx{at}", f"dx{at + 1}", f"w{at}", f"dw{at}"
    forward = Product(batch, outputs, inputs, x, w, y, turn_b=out_in, rows_are_samples=True)
    back = Product(batch, inputs, outputs, dy, w, dx, turn_b=not out_in, rows_are_samples=True)
    if out_in:
        gradient = Product(outputs, inputs, batch, dy, x, dw, turn_a=True)
    else:
        gradient = Product(inputs, outputs, batch, x, dy, dw, turn_a=True)
    return [forward, back, gradient]


def library() -> ctypes.CDLL | None:
    """Compile floor.c and csrc/gemm.c; return the library, or None without a C compiler."""
    from evoprune import core

    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    sources = [HERE / "floor.c", ROOT / "csrc" / "gemm.c"]
    command = [*compiler.split(), *FLAGS, *CPU[core.variant], "-Wno-psabi", f"-I{ROOT / 'csrc'}"]
    recipe = " ".join(command).encode() + b"".join(
        path.read_bytes() for path in (*sources, *sorted((ROOT / "csrc").glob("*.h")))
    )
    target = ROOT / "build" / "benchmarks" / f"floor-{hashlib.sha256(recipe).hexdigest()[:12]}.so"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_suffix(f".{os.getpid()}")
        subprocess.run([*command, *map(str, sources), "-o", str(fresh)], check=True)
        fresh.rename(target)
    loaded = ctypes.CDLL(str(target))
    loaded.floor_run.restype = ctypes.c_double
    loaded.floor_run.argtypes = [
        ctypes.POINTER(_Product),
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int64,
        ctypes.c_void_p,
    ]
    loaded.floor_trip.restype = ctypes.c_double
    return loaded


def trip_of(loaded: ctypes.CDLL | None, threads: int) -> Callable[[], float] | None:
    """Return a function that measures the latency between processors.

    None if there is only 1 thread or no library.
    """
    found: Callable[[], float] | None = None
    if loaded is not None and threads > 1:
        found = loaded.floor_trip
    return found


def openblas(path: Path | None) -> ctypes.c_void_p | None:
    """Return the address of OpenBLAS's cblas_sgemm, set to one thread; None without OpenBLAS."""
    if path is None:
        return None
    blas = ctypes.CDLL(str(path))
    blas.scipy_openblas_set_num_threads(1)
    return ctypes.cast(blas.scipy_cblas_sgemm, ctypes.c_void_p)


class Floor:
    """The matrix products of a training step, run by `threads` threads.

    Args:
        loaded: the library that `library` returns.
        blas: the address that `openblas` returns; None: use `ep_gemm` of csrc/gemm.c instead.
        threads: number of threads.
    """

    def __init__(self, loaded: ctypes.CDLL, blas: ctypes.c_void_p | None, threads: int) -> None:
        self._run, self._blas, self._threads = loaded.floor_run, blas, threads
        self._arrays: dict[str, np.ndarray] = {}
        self.plan: list[Product] = []
        self._table: ctypes.Array[_Product] = (_Product * 0)()

    def mlp(self, widths: Sequence[int], batch: int, seconds: float = 0.02) -> Floor:
        """Plan an MLP's step: time every choice for about `seconds`, and keep the fastest."""
        rng = np.random.default_rng(0)
        layers = list(enumerate(pairwise(widths)))
        for at, (inputs, outputs) in layers:
            for name, size in (
                (f"x{at}", batch * inputs),
                (f"dx{at}", batch * inputs),
                (f"w{at}", inputs * outputs),
                (f"dw{at}", inputs * outputs),
                (f"x{at + 1}", batch * outputs),
                (f"dx{at + 1}", batch * outputs),
            ):
                self._arrays[name] = _aligned(rng, size)
        chosen = []
        for at, (inputs, outputs) in layers:
            ways = []
            for out_in in (False, True):
                products = layer(at, batch, inputs, outputs, out_in=out_in)
                if at == 0:
                    del products[1]
                split = [self._best(product, seconds) for product in products]
                ways.append((sum(ms for ms, _ in split), [product for _, product in split]))
            chosen.append(min(ways, key=lambda way: way[0])[1])
        forward = [products[0] for products in chosen]
        back = [products[1] for products in reversed(chosen[1:])]
        gradients = [products[-1] for products in chosen]
        self.plan = forward + back + gradients
        self._table = self._tabled(self.plan, len(forward) + len(back))
        return self

    def run(self, steps: int) -> None:
        """Run this number of steps."""
        if self._run(self._table, len(self._table), self._threads, steps, self._blas) < 0:
            raise RuntimeError("floor: no threads")

    def step(self, stages: Sequence[Stage], seconds: float = 0.005) -> Floor:
        """Plan a step of any network, with the fastest way to compute each product.

        Every way of a product is timed for about `seconds`.
        """
        phases = [[stage[i] for stage in stages] for i in range(3)]
        works = {work for phase in phases for ways in phase for way in ways for work in way}
        tried = {work: list(every_way(work, self._threads)) for work in works}
        for name, size in self._sizes(p for products in tried.values() for p in products).items():
            self._arrays[name] = _aligned(np.random.default_rng(0), size)
        best = {
            work: min(((self._timed(p, seconds), p) for p in products), key=lambda pair: pair[0])
            for work, products in tried.items()
        }

        def cheapest(ways: list[list[Work]]) -> list[Product]:
            found = min(ways, key=lambda way: sum(best[work][0] for work in way))
            return [best[work][1] for work in found]

        forward, back, gradient = ([cheapest(ways) for ways in phase] for phase in phases)
        chained = [p for products in (*forward, *reversed(back)) for p in products]
        self.plan = chained + [p for products in gradient for p in products]
        self._table = self._tabled(self.plan, len(chained))
        return self

    def square(self, n: int = 1024, seconds: float = 0.2) -> float:
        """Return the multiply-adds per second of a large square product."""
        for name in "abc":
            self._arrays[name] = _aligned(np.random.default_rng(0), n * n)
        return n**3 / self._best(Product(n, n, n, "a", "b", "c"), seconds)[0]

    def _sizes(self, products: Iterable[Product]) -> dict[str, int]:
        """Return for each array the number of elements that suffice for all of these products."""
        sizes: dict[str, int] = {}
        for p in products:
            own = self._threads if p.split == BY_TIMES else 1
            for name, size in ((p.a, p.m * p.k), (p.b, p.k * p.n), (p.c, own * _apart(p))):
                sizes[name] = max(sizes.get(name, 0), size)
        return sizes

    def _best(self, product: Product, seconds: float) -> tuple[float, Product]:
        splits = (BY_ROWS, BY_COLUMNS, BY_ONE) if self._threads > 1 else (BY_ROWS,)
        tried = [replace(product, split=split) for split in splits]
        return min(((self._timed(p, seconds), p) for p in tried), key=lambda pair: pair[0])

    def _timed(self, product: Product, seconds: float) -> float:
        """Return the seconds that a product takes, repeated for at least `seconds` in total."""
        table = self._tabled([product], 1)
        steps, spent = 1, 0.0
        while spent < seconds:
            steps *= 2
            spent = self._run(table, 1, self._threads, steps, self._blas)
            if spent < 0:
                raise RuntimeError("floor: no threads")
        return spent / steps

    def _tabled(self, products: list[Product], chained: int) -> ctypes.Array[_Product]:
        """Return products as structs of floor.c.

        Products 1 to `chained` of the list read results of products before them. Threads
        synchronize before such a product, unless every thread reads only its own results.
        """
        table = (_Product * len(products))()
        for at, (row, p) in enumerate(zip(table, products, strict=True)):
            row.m, row.n, row.k = p.m, p.n, p.k
            row.turn_a, row.turn_b, row.split = p.turn_a, p.turn_b, p.split
            row.times, row.add, row.apart = p.times, p.add, _apart(p)
            stays = _by_sample(p) and _by_sample(products[at - 1] if at else p)
            row.wait = bool(at) and at <= chained and not stays
            row.a, row.b, row.c = (self._arrays[name].ctypes.data for name in (p.a, p.b, p.c))
        return table


def _by_sample(p: Product) -> bool:
    return p.rows_are_samples and p.split in (BY_ROWS, BY_TIMES)


def _apart(p: Product) -> int:
    """Return a distance in elements at which two threads' results share no cache line."""
    return -(-p.m * p.n // 32) * 32 + 32


def _aligned(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return small random numbers, aligned to a cache line and padded, as `ep_gemm` requires."""
    room = np.zeros(size + 32, np.float32)
    start = -room.ctypes.data % 64 // 4
    room[start : start + size] = 0.01 * rng.standard_normal(size, np.float32)
    return room[start : start + size]
