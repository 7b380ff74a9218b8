"""Failing allocations, and removals at every step.

In a build where any allocation can be made to fail, each fails in turn: the call must raise
MemoryError and change nothing, and later results must be bit-identical. Populations die at random
at every step of random networks, also under the sanitizers for memory and for threads.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import scripts
from cores import EVERY, name_of

PROGRAM = """
import sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader

import numpy as np
import runs

loader = ExtensionFileLoader("hostile._core32_base", sys.argv[1])
core = module_from_spec(spec_from_loader(loader.name, loader))
loader.exec_module(core)
x, y = runs.data(core)


def failing(call, whole=lambda: None):
    '''Makes slab after slab of a call fail, until it has all it wants: how many it wanted.'''
    for n in range(200):
        before = whole()
        core.fail_after(n)
        try:
            result = call()
        except MemoryError as error:
            assert "no memory" in str(error), error
            after = whole()
            assert (before is None) or runs.same(before, after), f"slab {n}"
        else:
            core.fail_after(-1)
            return n, result
        finally:
            core.fail_after(-1)
    raise AssertionError("it wants no end of slabs")


def state(net):
    return lambda: runs.state(net, gradients=True)


def build():
    wanted, net = failing(lambda: core.Network(runs.spec()))
    assert wanted == 4  # values, gradients, two moments
    reference = core.Network(runs.spec())
    assert runs.same(state(net)(), state(reference)())


def network(removal="auto"):
    net = core.Network(runs.spec())
    net.configure(selection=runs.QUICK | {"removal": removal})
    return net


def train():
    net, reference = network(), network()
    wanted, record = failing(lambda: runs.train(net, (x, y), 3, threads=3), state(net))
    assert wanted == 3  # activations, their gradients, a workspace for three
    runs.train(reference, (x, y), 3)
    assert runs.same(state(net)(), state(reference)())


def step_and_predict():
    net = network()
    wanted, _ = failing(lambda: net.forward(x), state(net))
    assert wanted == 3  # activations, their gradients, a workspace
    net.backward(y)
    copies = int(5e7 / net.macs / len(x))  # work enough for four workers
    many, labels = np.repeat(x, copies, axis=0), np.repeat(y, copies, axis=0)
    expected = net.predict(many)
    wanted, got = failing(lambda: net.predict(many, threads=4), state(net))
    assert wanted == 1
    assert np.array_equal(got, expected)
    net = network()
    wanted, _ = failing(lambda: net.evaluate(many, labels, threads=2), state(net))
    assert wanted == 1


def configure():
    net, reference = network(), network()
    laws = [{"dynamics": name} for name in core.catalogue()["dynamics"]]
    for law in laws:
        wanted, _ = failing(lambda: net.configure(selection=law), state(net))
        assert wanted == 1
    net = network()
    core.fail_after(0)
    try:
        net.configure(selection={"dynamics": "none"})
    except MemoryError:
        core.fail_after(-1)
    runs.train(net, (x, y), 60)
    runs.train(reference, (x, y), 60)
    assert runs.same(state(net)(), state(reference)())  # the former settings were kept


def compact():
    net, reference = network(), network()
    for n in (net, reference):
        runs.train(n, (x, y), 3)
        n.kill("h0", [1, 2, 20])
        n.kill("h1", [0])
    wanted, done = failing(net.compact, state(net))
    assert wanted == 7 and done
    reference.compact()
    assert runs.same(state(net)(), state(reference)())
    wanted, done = failing(net.compact, state(net))
    assert wanted == 0 and not done
    kill = {"in0": [3, 4, 5]}
    failing(lambda: net.shrink(kill))
    assert runs.births(net)["in0"] == [3, 4, 5]


def removal_in_mid_run():
    '''A run in which removals fail again and again goes on masking, and comes to the same.'''
    reference = network("always")
    expected = runs.train(reference, (x, y), 80)
    assert expected["compactions"] > 2
    for n in range(12):
        net, failures = network("always"), 0
        runs.train(net, (x, y), 1)
        while net.step < 80:
            core.fail_after(n)
            try:
                runs.train(net, (x, y), 80 - net.step)
            except MemoryError:
                failures += 1
                core.fail_after(-1)
                if failures > 3:
                    runs.train(net, (x, y), 80 - net.step)
            core.fail_after(-1)
        net.compact()
        assert failures > 0, n
        assert runs.same(runs.state(net), runs.state(reference)), n


def births():
    '''Memory for births is planned in the first call; later births allocate no slabs.'''
    number = {"rate": "number", "number": 0.2, "every": 2, "capacity": 3}
    for kind in ("division", "immigration"):
        law = runs.QUICK | {"births": number | {"kind": kind}, "removal": "auto"}
        net, reference = core.Network(runs.spec()), core.Network(runs.spec())
        for n in (net, reference):
            n.configure(selection=law)
        failing(lambda: runs.train(net, (x, y), 1), state(net))
        core.fail_after(8)  # values, gradients, two moments, a spare slab; activations, their
        runs.train(reference, (x, y), 1)  # gradients, a workspace
        core.fail_after(0)
        record = runs.train(net, (x, y), 30, pressure=0.0)  # no births in generation 31
        core.fail_after(-1)
        assert len(record["births"]) > 10
        runs.train(reference, (x, y), 30, pressure=0.0)
        assert runs.same(state(net)(), state(reference)())


for name in ("build", "train", "step_and_predict", "configure", "compact", "removal_in_mid_run",
             "births"):
    globals()[name]()
print("done")
"""


def built(folder: Path, **settings: str) -> Path:
    """Build a core in a folder."""
    environment = {"EVOPRUNE_VARIANTS": "32_base", "EVOPRUNE_DEBUG": "1"} | settings
    folders = ["--build-lib", str(folder), "--build-temp", str(folder / "objects")]
    made = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", *folders],
        cwd=scripts.ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    (module,) = (folder / "evoprune" / "core").glob("_core32_base*")
    return module


@pytest.mark.slow
def test_any_allocation_may_fail(tmp_path):
    module = built(tmp_path, EVOPRUNE_HOSTILE="1")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    assert scripts.run_file(program, str(module)) == "done\n"


def test_other_builds_cannot_make_allocations_fail():
    from cores import EVERY

    assert not any(hasattr(core, "fail_after") for core in EVERY)


# ---- removals at every step ----------------------------------------------------------------------

ROUNDS = scripts.TESTS / "hostile.py"
SANITIZERS = {
    "address,undefined": {"ASAN_OPTIONS": "detect_leaks=0", "PYTHONMALLOC": "malloc"},
    "thread": {"TSAN_OPTIONS": "halt_on_error=1"},
}


@pytest.mark.parametrize("reader", [False, True], ids=["alone", "read meanwhile"])
@pytest.mark.parametrize("core", EVERY, ids=name_of)
def test_populations_may_die_at_every_step(core, reader):
    """Populations of every kind of network die, and results do not depend on threads.

    With `reader`, another thread reads the network meanwhile.
    """
    text = scripts.run_file(
        ROUNDS, core.__file__, "0" if reader else "700", "25", *["threads"] * reader
    )
    assert text.endswith("done\n")


@pytest.mark.parametrize("core", EVERY, ids=name_of)
def test_populations_may_be_born_and_die_at_every_step(core):
    text = scripts.run_file(ROUNDS, core.__file__, "900", "40", "births")
    assert text.endswith("done\n")
    assert text.count("with births") > 8


def preload(sanitizer: str) -> str:
    """Return the runtime libraries of a sanitizer, for a program built without it."""
    names = {"address": "libasan.so", "undefined": "libubsan.so", "thread": "libtsan.so"}
    paths = []
    for name in sanitizer.split(","):
        found = subprocess.run(
            ["gcc", f"-print-file-name={names[name]}"], capture_output=True, text=True, check=False
        ).stdout.strip()
        if not Path(found).is_absolute():
            pytest.skip(f"no {names[name]} of gcc")
        paths.append(found)
    return ":".join(paths)


@pytest.mark.slow
@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_removals_at_every_step_under_sanitizers(sanitizer, tmp_path):
    """EVOPRUNE_ROUNDS sets the number of rounds, EVOPRUNE_SEED the seed of the first one.

    A failure names the seed of its round.
    """
    if shutil.which("gcc") is None:
        pytest.skip("no gcc")
    settings = SANITIZERS[sanitizer] | {"LD_PRELOAD": preload(sanitizer)}
    runner = ["setarch", "-R"] if sanitizer == "thread" else []  # with gcc 12, TSan needs ASLR off
    module = built(tmp_path, EVOPRUNE_SANITIZE=sanitizer, CC="gcc")
    probe = [*runner, sys.executable, "-c", "import numpy"]
    if subprocess.run(probe, env=os.environ | settings, capture_output=True).returncode:
        pytest.skip(f"Python does not run under {sanitizer} here")
    rounds = int(os.environ.get("EVOPRUNE_ROUNDS", "40"))
    seed = os.environ.get("EVOPRUNE_SEED", "20000")
    for more in ([], ["threads"], ["births"], ["births", "threads"]):
        command = [*runner, sys.executable, str(ROUNDS), str(module), seed, str(rounds), *more]
        path = os.pathsep.join([str(scripts.ROOT), str(scripts.TESTS)])
        done = subprocess.run(
            command,
            env=os.environ | settings | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=60 + 20 * rounds,
        )
        assert done.returncode == 0, done.stdout[-500:] + done.stderr[-6000:]
        assert done.stdout.endswith("done\n")
