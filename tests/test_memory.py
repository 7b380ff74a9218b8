"""Memory safety: shapes that change during a run, objects that change while they are read."""

from __future__ import annotations

import time

import numpy as np
import pytest
import runs
import scripts
from cores import CORE32, EVERY, name_of

import evoprune as ep

# ---- outputs -------------------------------------------------------------------------------------


def ending_in_populations(**settings):
    return ep.Sequential([ep.neurons(8), ep.neurons(64)], input=4, seed=1, **settings)


def data(rows=640):
    x = np.random.default_rng(0).standard_normal((rows, 4)).astype("f4")
    return x, (x[:, 0] > 0).astype(int)


def doom(told):
    """Return masses of 0: a law under which all populations become extinct at once."""
    return np.zeros(len(told["mass"]))


@pytest.mark.parametrize("core", EVERY, ids=name_of)
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("loss", ["cross_entropy", "mean_squared_error", "binary_cross_entropy"])
def test_outputs_do_not_die(core, threads, loss):
    net = core.Network(ending_in_populations().spec)
    x, y = data()
    if loss != "cross_entropy":
        y = np.eye(64)[y]
    law = {"dynamics": doom, "min_age": 0, "floor": 0, "removal": "always", "threshold": 0.5}
    net.configure(loss=loss, selection=law)
    level = np.full(12, 1e-3)
    record = net.train(
        x, y, batch=64, first=0, rate=level, pressure=level, strength=level, threads=threads
    )
    assert record["steps"] == 12
    assert record["deaths"]["population"].tolist() == [0] * 8  # only hidden populations died
    assert net.predict(x).shape == (640, 64)
    assert (net.array("populations2.mass") == 1).all()
    assert [p["layer"] for p in net.describe()["populations"]] == ["populations1"]
    fixed = {layer["name"]: layer["fixed"] for layer in net.describe()["layers"]}
    assert [name for name, is_fixed in fixed.items() if is_fixed] == ["populations2"]


def test_kill_refuses_outputs():
    net = ending_in_populations()
    with pytest.raises(ValueError, match="populations2: its populations are the network's outputs"):
        net.kill("populations2", [3])
    with pytest.raises(
        ValueError, match="'dense2' is no axis whose populations can become extinct"
    ):
        net.core.shrink({"dense2": [1, 2]})
    assert net.alive == net.born == {"populations1": 8}
    assert "populations2: outputs, which cannot go extinct" in repr(net)


def test_outputs_with_masses_can_be_trained(tmp_path):
    net = ending_in_populations()
    x, y = data()
    selection = ep.Selection(0.2, dynamics=ep.Malthusian(lifespan=80), min_age=5)
    trainer = ep.Trainer(net, selection=selection, optimizer=ep.AdamW(1e-2))
    trainer.fit((x, y), epochs=20, batch_size=32, progress=False)
    assert net.alive["populations1"] < 8
    assert net.evaluate((x, y)).accuracy > 0.8
    net.save(tmp_path / "net.safetensors")
    other = ep.load(tmp_path / "net.safetensors")
    for made in (other, net.copy(), net.expanded()):
        assert np.allclose(made.predict(x), net.predict(x), atol=1e-5)


# ---- gradient tasks after removals ---------------------------------------------------------------

SHARES = """
    import numpy as np
    import evoprune as ep

    widths = [128, 200, 200, 128, 200, 128, 200, 128]
    shares = [0, 0, 0.6, 0.9, 0.6, 0.9, 0.9, 0.3]
    random = np.random.default_rng(0)
    x, y = random.standard_normal((1024, 100)), random.integers(0, 5, 1024)
    for threads in (1, 2, 3):
        for _ in range(3):
            net = ep.mlp(100, *widths, 5, seed=1)
            law = {"dynamics": "none", "threshold": 0.5, "min_age": 0, "removal": "always"}
            net.configure(selection=law)
            for layer, width, share in zip(net.born, widths, shares):
                net.kill(layer, np.arange(int(share * width)))
            level = np.full(2, 1e-3)
            net.train(x, y, batch=1024, first=0, rate=level, pressure=0 * level,
                      strength=0 * level, threads=threads)
            assert np.isfinite(net.predict(x[:5])).all()
    print("done")
"""


def test_a_removal_may_give_more_shares_of_the_gradient():
    """This network has 16 gradient tasks before the removal, and 17 after it."""
    assert scripts.run(SHARES) == "done\n"


# ---- objects that change while they are read -----------------------------------------------------


class Evil:
    """Runs code when it is iterated, counted or converted to an array, and then gives `value`."""

    def __init__(self, act, value):
        self.act, self.value = act, value

    def __iter__(self):
        self.act()
        return iter(self.value)

    def __index__(self):
        self.act()
        return self.value

    def __array__(self, *_, **__):
        self.act()
        return np.array(self.value)


def renamed(where):
    layer = {"kind": "dense", "name": "abcd" + str(np.int64(5)), "config": {"units": [3]}}

    def act():
        layer["name"] = "b"
        layer["kind"] = "sum"

    if where == "inputs":
        layer["inputs"] = Evil(act, ["input"])
    else:
        layer["config"] = {"units": Evil(act, [3])}
    return {"seed": 1, "input": [4], "layers": [layer]}


@pytest.mark.parametrize("where", ["inputs", "config"])
def test_a_layer_that_changes_while_it_is_read_keeps_its_name(where):
    net = CORE32.Network(renamed(where))
    assert net.spec["layers"][0]["name"] == "abcd5"
    assert net.spec["layers"][0]["kind"] == "dense"


def test_a_spec_that_changes_while_it_is_read():
    spec = {"layers": [{"kind": "dense", "name": "a", "config": {"units": [3]}}]}
    spec["input"] = Evil(lambda: spec.pop("layers"), [4])
    spec["seed"] = Evil(lambda: spec.pop("input"), 7)
    with pytest.raises(TypeError, match="'layers' must be given"):
        CORE32.Network(spec)


def test_an_augment_that_changes_while_it_is_read():
    net = runs.network()
    x, y = runs.data()
    one, other = runs.network(), runs.network()
    augment = {"shift": 1, "flip": True}
    augment["shape"] = Evil(augment.clear, [2, 3])
    runs.train(one, (x, y), 3, augment=augment)
    runs.train(other, (x, y), 3, augment={"shift": 1, "flip": True, "shape": [2, 3]})
    assert runs.same(runs.state(one), runs.state(other))
    assert net.step == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ZeroDivisionError])
def test_exceptions_of_arguments_propagate(error):
    def fail():
        raise error

    evil = Evil(fail, 1)
    net = runs.network()
    x, y = runs.data()
    calls = [
        lambda: CORE32.random_words(evil, 0, 0, 1),
        lambda: CORE32.Network(runs.spec() | {"seed": evil}),
        lambda: runs.train(net, (x, y), 1, batch=evil),
        lambda: runs.train(net, (x, y), 1, augment={"shift": evil, "shape": (2, 3)}),
        lambda: net.restore(evil, 0),
        lambda: net.predict(x, evil),
        lambda: net.kill("h0", evil),
        lambda: net.shrink({"in0": evil}),
    ]
    for call in calls:
        with pytest.raises(error):
            call()
    assert net.step == 0
    assert runs.train(net, (x, y), 1)["steps"] == 1  # the lock was released


def test_an_argument_may_not_call_back_into_its_network():
    net = runs.network()
    x, y = runs.data()
    with pytest.raises(RuntimeError, match="calls back into its own network"):
        net.predict(Evil(lambda: net.predict(x), x))
    assert net.predict(x).shape == (100, 3)
    assert runs.train(net, (x, y), 1)["steps"] == 1


@pytest.mark.parametrize("core", EVERY, ids=name_of)
def test_a_law_alone_needs_its_signals(core):
    for mass, gradient, name in [(None, [1.0], "mass"), ([1.0], None, "mass_gradient")]:
        for law in core.catalogue()["fitness"]:
            with pytest.raises(ValueError, match=f"{law}: {name} must be given"):
                core.fitness_measure(law, {}, mass, gradient)


@pytest.mark.parametrize("founded", [-1, 2**64 - 1, 10**40])
def test_a_law_alone_needs_a_count_of_founders(founded):
    with pytest.raises(ValueError, match="born: expected a whole number from 0"):
        CORE32.dynamics_step("moran", None, [1.0], [0.0], born=founded)


def test_the_first_error_of_several_arrays_is_raised():
    """An array's error is raised even if reading a later array raises and catches another error."""

    def stumble():
        with pytest.raises(ValueError, match="invalid literal"):
            int("x")

    ones = Evil(stumble, np.ones(3, np.float32))
    with pytest.raises(ValueError, match="fitness: expected"):
        CORE32.dynamics_step("malthusian", None, np.ones(3), np.ones(2), upkeep=ones)
    with pytest.raises(ValueError, match="gradient: expected"):
        CORE32.optimizer_step("adamw", None, np.ones(3), np.ones(2), first=ones)


def test_a_community_needs_a_finite_threshold():
    with pytest.raises(ValueError, match="expected a finite number, got one above 1e308"):
        CORE32.Community(np.array([3]), {}, threshold=10**400)


# ---- memory and time -----------------------------------------------------------------------------

TOO_LARGE = """
    import os
    import evoprune as ep
    import resident

    bytes_ = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    width = int((bytes_ * 0.3 / 4) ** 0.5)  # four arrays of 0.3 of the machine each
    try:
        ep.mlp(width, width, 10)
    except MemoryError as error:
        print(error)
    print(resident.peak() < 2**20)
"""


def test_arrays_that_fit_alone_but_not_together_are_refused():
    text = scripts.run(TOO_LARGE)
    assert "no memory for its parameters, gradients and moments" in text
    assert text.endswith("True\n")


def test_few_survivors_of_more_features_than_can_be_numbered_are_refused():
    """Living features are stored as int32 indices, too small for 2^20 x 2^12 features."""
    layers = [{"kind": "populations", "name": "features"}]
    layers += [{"kind": "dense", "name": "out", "config": {"units": [1]}}]
    spec = {"input": [2**20, 2**12], "layers": layers}
    with pytest.raises(ValueError, match=r"at most 2\^31 - 1 input features"):
        CORE32.Network(spec, {"input.1": [5]})
    assert CORE32.Network(spec | {"input": [2**20, 2**10]}, {"input.1": [5]}).parameters == 3


@pytest.mark.parametrize("core", EVERY, ids=name_of)
def test_absurd_images_are_a_memory_error_at_the_first_pass(core):
    """The network has no array of the image's size, but its activations would have that size."""
    net = core.Network(
        {"input": [200_000, 200_000], "layers": [{"kind": "mean_pool", "name": "p"}]}
    )
    x = np.broadcast_to(np.zeros(1, np.float32), (1, 200_000**2))
    for call in (net.predict, net.forward):
        with pytest.raises(MemoryError):
            call(x)


def test_a_shrink_takes_linear_time():
    """Shrinking takes about as long as building; comparing all pairs would take 1000 times that."""
    n = 100_000
    spec = {
        "seed": 1,
        "input": [1],
        "layers": [
            {"kind": "dense", "name": "in", "config": {"units": [n]}},
            {"kind": "populations", "name": "h"},
            {"kind": "dense", "name": "out", "config": {"units": [1]}},
        ],
    }
    builds, shrinks = [], []
    for _ in range(3):
        begin = time.perf_counter()
        net = CORE32.Network(spec)
        middle = time.perf_counter()
        net.shrink({"in": np.arange(1, n, 2)})
        shrinks.append(time.perf_counter() - middle)
        builds.append(middle - begin)
        assert net.array("h.mass").shape == (n // 2,)
    assert min(shrinks) < 30 * min(builds)


def test_a_shrink_keeps_the_listed_that_live():
    net = runs.network()
    net.kill("h0", [2, 5])
    net.shrink({"in0": [7, 1, 5, 1, 20]})
    assert runs.births(net)["in0"] == [1, 7, 20]
    assert runs.births(net)["in1"] == list(range(16))
    net.kill("h1", [3])
    net.shrink({})
    assert runs.births(net)["in1"] == [j for j in range(16) if j != 3]
