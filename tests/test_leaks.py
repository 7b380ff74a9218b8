"""No memory leaks: thousands of calls of every kind, also with arrays that stay in use."""

from __future__ import annotations

import gc
import sys
import weakref

import numpy as np
import pytest
import runs
import scripts
from cores import CORE32

SET_UP = """
    import gc, resource, sys
    import numpy as np
    import runs
    from cores import CORE32

    x, y = runs.data()
    nan = np.full_like(x, np.nan)

    def rss():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    def refused(error, call, *arguments, **settings):
        try:
            call(*arguments, **settings)
        except error:
            return
        raise AssertionError(f"{call} was not refused")

    def law(told):
        raise KeyError("law")

"""
LOOPS = {
    "builds": """
        net = runs.network(hidden=(64, 48))
        runs.train(net, (x, y), 1, threads=2)
    """,
    "refused builds": """
        spec = runs.spec()
        spec["layers"][-1] = {"kind": "dense", "name": "in0"}
        refused(ValueError, CORE32.Network, spec)
        spec["layers"][-1] = {"kind": "dense", "name": "x", "config": {"units": [10**9] * 3}}
        refused((ValueError, MemoryError), CORE32.Network, spec)
    """,
    "removals": """
        net = runs.network(hidden=(64, 48))
        net.forward(x)
        for i in range(20):
            net.kill("h0", [3 * i, 3 * i + 1])
            net.kill("h1", [2 * i])
            assert net.compact()
    """,
    "views": """
        net = runs.network(hidden=(64, 48))
        views = [net.array(name) for name in runs.names(net)]
        net.kill("h0", [1, 2, 3])
        net.compact()
        views += [net.array(name, "first") for name in runs.names(net)]
        del net
        views[0][...] = 1
    """,
    "settings": """
        net = NET
        net.configure(selection=runs.QUICK | {"upkeep": "given", "given": np.ones(40)},
                      loss_config={"class_weights": [1, 2, 3]})
        net.configure(loss="mean_squared_error", optimizer="sgd")
        net.configure(selection={"dynamics": law, "fitness": law})
        refused(ValueError, net.configure, loss_config={"class_weights": [1, 2]})
        refused(TypeError, net.configure, selection={"nothing": 1})
        refused(ValueError, net.configure, selection={"upkeep": "given", "given": [1.0]})
        net.scale_input(np.zeros(6), np.ones(6))
        net.configure()
    """,
    "predictions": """
        NET.predict(x, threads=2)
        NET.predict(x.astype(np.float64).tolist())
        NET.evaluate(x[::-1, ::-1], y.astype("u8"), threads=2, rows=[3, 1, 2])
        NET.describe(), NET.spec, NET.input_scaling
        refused(ValueError, NET.predict, x[:, :3])
        refused(TypeError, NET.predict, "x")
        refused(TypeError, NET.evaluate, x, y + 0.5)
        refused(ValueError, NET.evaluate, x, y + 1)
    """,
    "runs": """
        net = NET
        net.configure(selection={"dynamics": lambda told: told["mass"]})
        runs.train(net, (x, y), 3, augment={"shift": 1, "shape": (2, 3)}, threads=3)
        refused(ValueError, runs.train, net, (nan, y), 3)
        net.configure(selection={"fitness": law})
        refused(KeyError, runs.train, net, (x, y), 3)
        net.configure(selection={"fitness": lambda told: told["mass"][1:]})
        refused(ValueError, runs.train, net, (x, y), 3)
        refused(ValueError, runs.train, net, (x, y[1:]), 3)
        refused(ValueError, runs.train, net, (x, y), 3, batch=0)
        refused(TypeError, net.train, x, y, batch=3)
        net.configure()
    """,
    "single steps": """
        net = NET
        net.configure(selection={})
        net.forward(x[:7], training=True), net.backward(y[:7]), net.gradient()
        net.update(1e-6), net.evolve(0.1), net.compact(), net.activation("h0")
        refused(KeyError, net.array, "x"), refused(KeyError, net.kill, "x", [1])
        refused(ValueError, net.kill, "h0", [99]), refused(ValueError, net.shrink, {"x": [1]})
        refused(ValueError, net.backward, y), net.restore(0, 0)
    """,
    "cycles": """
        class Law:
            def __call__(self, told):
                return told["mass"]
        law_of_its_own = Law()
        net = runs.network(CORE32, {"dynamics": law_of_its_own, "fitness": law_of_its_own})
        law_of_its_own.net = net
        runs.train(net, (x, y), 1)
        del net, law_of_its_own
        gc.collect()
    """,
}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", LOOPS)
def test_nothing_grows(name):
    """After a warm-up, more rounds increase neither Python's memory blocks nor resident memory."""
    rounds = {"removals": 60, "cycles": 200}.get(name, 1000)  # each "removals" compacts 20 times
    body = "\n".join("    " + line for line in LOOPS[name].splitlines())
    code = f"""{SET_UP}
    NET = runs.network()

    def once():{body}

    def many(n):
        for _ in range(n):
            once()
        gc.collect()
        return sys.getallocatedblocks(), rss()

    many({rounds // 10})
    blocks, bytes_ = many({rounds // 10})
    more_blocks, more_bytes = many({rounds})
    print(more_blocks - blocks, more_bytes - bytes_)
    """
    blocks, size = map(int, scripts.run(code).split())
    assert blocks < 400  # allowance for caches of Python
    assert size < 2**20, f"{size / rounds:.0f} bytes a round"


def test_references_are_released():
    x, y = runs.data()
    rows, rate = np.arange(50), np.full(3, 1e-3)
    law = runs.QUICK | {"dynamics": lambda told: told["mass"]}
    net = runs.network(CORE32, law)
    lent = [x, y, rows, rate, law["dynamics"]]
    gc.collect()
    before = [sys.getrefcount(thing) for thing in lent]
    for _ in range(5):
        net.train(x, y, batch=9, first=0, rate=rate, pressure=rate, strength=rate, rows=rows)
        net.predict(x)
        net.evaluate(x, y, rows=rows)
        net.forward(x)
        net.backward(y)
        with pytest.raises(ValueError, match="labels"):
            net.evaluate(x, y + 5)
    gc.collect()
    after = [sys.getrefcount(thing) for thing in lent]
    assert before == after
    net.configure()
    after = [sys.getrefcount(thing) for thing in lent]
    assert [b - a for a, b in zip(before, after, strict=True)] == [0, 0, 0, 0, -1]


def test_networks_and_views_are_freed_with_their_last_reference():
    net = runs.network()
    law = type("Law", (), {"__call__": lambda self, told: told["mass"]})()
    gone = weakref.ref(law)
    net.configure(selection={"dynamics": law})
    view = net.array("in0.weight")
    del law
    assert gone() is not None
    del net
    assert gone() is None
    view[...] = 3.0
    base = view.base
    del view
    assert sys.getrefcount(base) == 2
