"""Memory that gives out: in a build of the core where any slab can be made to fail, every one does.

MemoryError, everything as it was, and as soon as there is memory again the same bits as ever.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import scripts

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
    assert wanted == 5  # values, gradients, two moments, workspace
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
    assert wanted == 2
    net.backward(y)
    copies = int(5e7 / net.flops / len(x))  # work enough for four workers
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


for name in ("build", "train", "step_and_predict", "configure", "compact", "removal_in_mid_run"):
    globals()[name]()
print("done")
"""


@pytest.mark.slow
def test_memory_may_give_out_anywhere(tmp_path):
    settings = {"EVOPRUNE_VARIANTS": "32_base", "EVOPRUNE_HOSTILE": "1", "EVOPRUNE_DEBUG": "1"}
    folders = ["--build-lib", str(tmp_path), "--build-temp", str(tmp_path / "objects")]
    made = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", *folders],
        cwd=scripts.ROOT,
        env=os.environ | settings,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    (module,) = (tmp_path / "evoprune" / "core").glob("_core32_base*")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    assert scripts.run_file(program, str(module)) == "done\n"


def test_nobody_else_meets_it():
    from cores import EVERY

    assert not any(hasattr(core, "fail_after") for core in EVERY)
