"""The core's interface to Python: arguments in every form, and errors that change nothing.

Training on arrays of any type and layout is bit-identical to training on plain arrays, and never
writes to them. Errors name the invalid argument. Values that are not finite are in test_finite.py.
"""

from __future__ import annotations

import numpy as np
import pytest
import runs
from cores import BOTH, CORE32, name_of

ROWS = 40
x0 = np.random.default_rng(0).integers(0, 100, (ROWS, 6))
y0 = np.arange(ROWS) * 7 % 3


def strided(a):
    wide = np.full((2 * len(a), *(2 * n for n in a.shape[1:])), 77, a.dtype)
    wide[tuple(slice(None, None, 2) for _ in a.shape)] = a
    return wide[tuple(slice(None, None, 2) for _ in a.shape)]


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def unaligned(a):
    raw = np.zeros(a.nbytes + 1, np.uint8)[1:]
    view = raw.view(a.dtype).reshape(a.shape) if a.itemsize > 1 else a
    view[...] = a
    return view


def reversed_twice(a):
    return np.ascontiguousarray(a[::-1])[::-1]


def columns_reversed(a):
    return np.ascontiguousarray(a[..., ::-1])[..., ::-1]


class Array(np.ndarray):
    """A subclass of ndarray."""


LAYOUTS = {
    "plain": np.ascontiguousarray,
    "fortran": np.asfortranarray,
    "strided": strided,
    "rows reversed": reversed_twice,
    "columns reversed": columns_reversed,
    "read only": read_only,
    "unaligned": unaligned,
    "big endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "list": lambda a: a.tolist(),
    "tuple of arrays": tuple,
    "subclass": lambda a: a.view(Array),
    "rows far apart": lambda a: np.repeat(a, 3, axis=0)[::3],
}
REAL = ["float32", "float64", "float16", "longdouble"]
WHOLE = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]


def outcome(net, x, y):
    runs.train(net, (x, y), 3, batch=16, rate=1e-2, threads=2)
    return runs.state(net), net.predict(x), net.evaluate(x, y)


@pytest.fixture(scope="module", params=BOTH, ids=name_of)
def expected(request):
    """Return a core, and its results for plain arrays of its own type."""
    core = request.param
    return core, outcome(runs.network(core), x0.astype(core.dtype), y0)


def check(expected, x, y):
    core, (state, logits, score) = expected
    got = outcome(runs.network(core), x, y)
    assert runs.same(got[0], state)
    assert np.array_equal(got[1], logits)
    assert got[2] == score


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", REAL + WHOLE)
def test_inputs_of_any_type_have_equal_values(expected, dtype, layout):
    x = LAYOUTS[layout](x0.astype(dtype))
    before = np.array(x)
    check(expected, x, y0)
    assert np.array_equal(np.array(x), before)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", WHOLE)
def test_labels_of_any_type_are_the_same_classes(expected, dtype, layout):
    y = LAYOUTS[layout](y0.astype(dtype))
    before = np.array(y)
    check(expected, x0, y)
    check(expected, x0, np.asarray(y)[:, None])
    assert np.array_equal(np.array(y), before)


def test_inputs_may_keep_their_shape(expected):
    check(expected, x0.reshape(ROWS, 2, 3), y0)
    check(expected, x0.reshape(ROWS, 3, 1, 2).astype("u1"), y0)


def test_data_may_be_mapped_from_a_file(expected, tmp_path):
    np.save(tmp_path / "x.npy", x0.astype("u1"))
    np.save(tmp_path / "y.npy", y0)
    x, y = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "xy")
    check(expected, x, y)


def test_samples_may_overlap():
    series = np.arange(45.0)
    windows = np.lib.stride_tricks.sliding_window_view(series, 6)
    assert np.shares_memory(windows, series)
    one, other = runs.network(), runs.network()
    a, b = outcome(one, windows, y0), outcome(other, windows.copy(), y0)
    assert runs.same(a[0], b[0])
    assert np.array_equal(a[1], b[1])
    assert np.array_equal(series, np.arange(45.0))


def test_booleans_are_zeros_and_ones():
    net = runs.network()
    bits = x0 % 2 == 0
    assert np.array_equal(net.predict(bits), net.predict(bits.astype(np.float32)))
    pair = runs.network(classes=2)
    assert pair.evaluate(x0, y0 > 0) == pair.evaluate(x0, (y0 > 0).astype(int))


@pytest.mark.parametrize("dtype", REAL + WHOLE)
def test_targets_of_any_type_have_equal_values(dtype):
    t = np.random.default_rng(1).integers(0, 9, (ROWS, 3))
    nets = [runs.network(loss="mean_squared_error") for _ in range(2)]
    a, b = outcome(nets[0], x0, t.astype("f4")), outcome(nets[1], x0, t.astype(dtype))
    assert runs.same(a[0], b[0])
    assert a[2] == b[2]


def test_one_feature_needs_no_second_axis():
    net = runs.network(features=1)
    column = x0[:, 0]
    assert np.array_equal(net.predict(column), net.predict(column[:, None]))


# ---- invalid arguments -----------------------------------------------------------------------

BAD_INPUTS = [
    (x0[:, :5], ValueError, r"x: expected \(samples, ...\) with 6 numbers .* got shape \(40, 5\)"),
    (x0[0], ValueError, r"x: expected \(samples, ...\) with 6 numbers .* got shape \(6,\)"),
    (x0[:, :, None, None] + np.zeros(2), ValueError, r"got shape \(40, 6, 1, 2\)"),
    (np.float32(1), ValueError, "x: expected an array of samples, got a single number"),
    (x0 + 1j, TypeError, "x: expected real numbers, got complex ones"),
    (x0.astype(str), TypeError, "x: expected an array of real numbers, got dtype"),
    (x0.astype(object), TypeError, "x: expected an array of real numbers, got dtype.*O"),
    (x0.astype("M8[s]"), TypeError, "x: expected an array of real numbers, got dtype.*M8"),
    (np.zeros(ROWS, [("a", "f4"), ("b", "f4")]), TypeError, "x: expected an array of real numbers"),
    ("mnist", TypeError, "x: expected an array of real numbers"),
    (None, TypeError, "x: expected an array of real numbers"),
    (np.zeros((ROWS, 0)), ValueError, "x: expected"),
]
BAD_LABELS = [
    (y0 + 1, ValueError, r"y: labels must be in \[0, 2\], got 3 in row 2"),
    (y0 - 1, ValueError, r"y: labels must be in \[0, 2\], got -1 in row 0"),
    (np.where(y0 == 0, 2**64 - 1, y0.astype("u8")), ValueError, "y: a label is above 2"),
    (y0.astype("f4"), TypeError, "y: expected whole-number class labels, got dtype.*float32"),
    (y0.astype("f2"), TypeError, "y: expected whole-number class labels, got dtype.*float16"),
    (y0.astype("f8").tolist(), TypeError, "y: expected whole-number class labels"),
    (y0[:-1], ValueError, r"y: expected as many rows as x \(40\), got 39"),
    (np.eye(3, dtype=int)[y0], ValueError, r"with 1 numbers to a sample, got shape \(40, 3\)"),
    (y0.astype(str), TypeError, "y: expected an array of real numbers"),
    (y0 * 1j, TypeError, "y: expected real numbers, got complex"),
    (2, ValueError, "y: expected an array of samples, got a single number"),
]


def refuses(net, error, text, call):
    """Assert that the call raises this error and changes nothing."""
    before = runs.state(net, gradients=True)
    with pytest.raises(error, match=text):
        call()
    assert runs.same(runs.state(net, gradients=True), before)
    reference = runs.network()
    runs.train(reference, (x0, y0), 4)
    runs.train(net, (x0, y0), 2)
    assert runs.same(runs.state(net), runs.state(reference))


@pytest.fixture
def net():
    net = runs.network()
    runs.train(net, (x0, y0), 2)
    return net


@pytest.mark.parametrize(("x", "error", "text"), BAD_INPUTS)
def test_inputs_that_do_not_fit_are_refused(net, x, error, text):
    for call in (net.predict, net.forward):
        with pytest.raises(error, match=text):
            call(x)
    for call in (net.evaluate, net.check_data):
        with pytest.raises(error, match=text):
            call(x, y0)
    refuses(net, error, text, lambda: runs.train(net, (x, y0), 2))


@pytest.mark.parametrize(("y", "error", "text"), BAD_LABELS)
def test_labels_that_do_not_fit_are_refused(net, y, error, text):
    for call in (net.evaluate, net.check_data):
        with pytest.raises(error, match=text):
            call(x0, y)
    net.forward(x0)
    with pytest.raises(error, match=text):
        net.backward(y)
    refuses(net, error, text, lambda: runs.train(net, (x0, y), 2))


def test_labels_that_change_during_a_run_stop_it(net):
    """Labels are overwritten after the check: the run stops at the step that reads them."""
    y = y0.copy()
    runs.train(net, (x0, y), 1)
    y[:] = 10**9
    before = runs.state(net)
    with pytest.raises(CORE32.Diverged, match="not finite at step 3"):
        runs.train(net, (x0, y), 1)
    assert runs.same(runs.state(net), before)
    assert np.isnan(net.evaluate(x0, y)[0])
    weighted = runs.network(loss_config={"class_weights": [1, 2, 3]})
    y = y0.copy()
    weighted.check_data(x0, y)
    y[5] = 3
    assert np.isnan(weighted.evaluate(x0, y)[0])


def test_no_samples(net):
    none = x0[:0], y0[:0]
    assert net.predict(none[0]).shape == (0, 3)
    assert net.forward(none[0]).shape == (0, 3)
    assert net.backward(none[1]) == 0
    net.gradient()
    with pytest.raises(ValueError, match="x: expected at least one sample, got none"):
        net.evaluate(*none)
    refuses(net, ValueError, "x: expected at least one sample, got none",
            lambda: runs.train(net, none, 2))  # fmt: skip


good = {"batch": 8, "first": 0, "rate": [0.1], "pressure": [0.1], "strength": [1.0]}


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"rate": [0.1, 0.1]}, ValueError, r"pressure: expected an array of shape \(2,\), got"),
        ({"strength": []}, ValueError, r"strength: expected an array of shape \(1,\), got \(0,\)"),
        ({"rate": 0.1}, ValueError, r"rate: expected an array of shape \(\?,\), got \(\)"),
        ({"rate": ["fast"]}, TypeError, "rate: expected an array of real numbers"),
        ({"rate": [-0.1]}, ValueError, "rate: expected finite numbers of at least 0.*step 0"),
        ({"pressure": [np.nan]}, ValueError, "pressure: expected finite numbers of at least 0"),
        ({"strength": [np.inf]}, ValueError, "strength: expected finite numbers of at least 0"),
        ({"batch": 0}, ValueError, "batch: expected a whole number from 1 to .*, got 0"),
        ({"batch": -3}, ValueError, "batch: expected a whole number from 1 to .*, got -3"),
        ({"batch": 2.5}, TypeError, "batch: expected a whole number, got float"),
        ({"batch": 10**30}, ValueError, "batch: expected .*, got 10{30}$"),
        ({"batch": 2**63 - 1}, ValueError, "batch: expected .*, got 9223372036854775807"),
        ({"first": -1}, ValueError, "first: expected a whole number from 0 to .*, got -1"),
        ({"first": 2**63 - 1}, ValueError, "first: expected .*, got 9223372036854775807"),
        ({"first": 2**63 - 1, "shuffle": False}, ValueError, "first: expected .*"),
        ({"threads": 0}, ValueError, "threads: expected a whole number from 1 to .*, got 0"),
        ({"threads": -1}, ValueError, "threads: expected a whole number from 1 to .*, got -1"),
        ({"rate": [1e200]}, ValueError, "rate: expected .* at most 1e30.*step 0"),
        ({"augment": {"shfit": 1}}, ValueError, "expected the keys shift, flip and shape, got"),
        (
            {"augment": {"flip": "no", "shape": (2, 3)}},
            TypeError,
            r"augment\['flip'\]: expected True or False, got str",
        ),
        (
            {"augment": {"flip": np.array([1, 2]), "shape": (2, 3)}},
            TypeError,
            r"augment\['flip'\]: expected True or False, got ndarray",
        ),
        (
            {"augment": {"shift": 1.5, "shape": (2, 3)}},
            TypeError,
            r"augment\['shift'\]: expected a whole number, got float",
        ),
        ({"rate": None}, TypeError, "rate"),
        ({"augment": {"shift": 1}}, ValueError, "augment: expected an image shape|shift must be"),
        (
            {"augment": {"shift": -1, "shape": (2, 3)}},
            ValueError,
            r"augment\['shift'\]: expected a whole number from 0 to 2, got -1",
        ),
        (
            {"augment": {"shift": 1, "shape": (2, 2)}},
            ValueError,
            "augment: expected an image shape",
        ),
        ({"augment": 3}, TypeError, "augment must be a dict"),
        ({"rows": [0, ROWS]}, ValueError, "rows"),
        ({"rows": [-1]}, ValueError, "rows"),
        ({"rows": [0.5]}, TypeError, "rows"),
        ({"speed": 3}, TypeError, "speed"),
    ],
)
def test_bad_runs_are_refused(net, settings, error, text):
    refuses(net, error, text, lambda: net.train(x0, y0, **(good | settings)))


def test_a_run_needs_its_schedules(net):
    for name in ("rate", "pressure", "strength", "batch"):
        with pytest.raises((TypeError, ValueError), match=name):
            net.train(x0, y0, **{key: value for key, value in good.items() if key != name})


REFUSED_SETTINGS = [
    ({"loss": "happiness"}, ValueError, "no loss is called 'happiness'"),
    ({"optimizer": "magic"}, ValueError, "no optimizer is called 'magic'"),
    ({"loss_config": {"smoothing": 1}}, TypeError, "'smoothing'; it has label_smoothing"),
    ({"loss_config": {"label_smoothing": 1}}, ValueError, "must be from 0 to 0.999"),
    ({"loss_config": {"class_weights": [1, 2]}}, ValueError, "weight for each of the 3"),
    ({"loss_config": {"class_weights": [0, 0, 0]}}, ValueError, "must not all be 0"),
    ({"optimizer_config": {"beta3": 1}}, TypeError, "adamw: no setting 'beta3'; it has "),
    ({"optimizer_config": {"beta1": 1.5}}, ValueError, "adamw: beta1 must be from 0 to .*got 1.5"),
    ({"optimizer_config": [1]}, TypeError, "settings must be a dict"),
    ({"clip": -1}, ValueError, "clip: expected a finite number of at least 0"),
    ({"clip": np.nan}, ValueError, "clip: expected a finite number of at least 0"),
    ({"clip": "much"}, TypeError, "must be real number"),
    ({"selection": "natural"}, TypeError, "selection must be a dict or None"),
    ({"selection": {"pressure": 1}}, TypeError, "no setting 'pressure'; it has upkeep, "),
    ({"selection": {"memory": 1}}, ValueError, "memory must be from 0 to 0.9999999, got"),
    ({"selection": {"threshold": -1}}, ValueError, "threshold must be from 0 to 1, got -1"),
    ({"selection": {"floor": 1.5}}, TypeError, "selection: floor"),
    ({"selection": {"every": 0}}, ValueError, "every must be .* 1.* got 0"),
    ({"selection": {"niche": "planet"}}, ValueError, "must be one of 'layer', 'network', got"),
    ({"selection": {"upkeep": "given", "given": [1]}}, ValueError, "each of 40 .* got 1"),
    ({"selection": {"fitness": "luck"}}, ValueError, "no fitness is called 'luck'"),
    ({"selection": {"dynamics": "luck"}}, ValueError, "no dynamics is called 'luck'"),
    ({"selection": {"fitness": 3}}, TypeError, "fitness must be a name or a function"),
    ({"selection": {"dynamics_config": {"speed": 1}}}, TypeError, "malthusian: no setting 'speed'"),
    ({"speed": 1}, TypeError, "speed"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "error", "text"), REFUSED_SETTINGS)
def test_bad_settings_leave_the_former_ones(net, settings, error, text):
    refuses(net, error, text, lambda: net.configure(**settings))


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"input": []}, ValueError, "input: expected 1 to 4 axes, got 0"),
        ({"input": [1] * 5}, ValueError, "input: expected 1 to 4 axes, got 5"),
        ({"input": [0]}, ValueError, "input: an axis must have 1 to"),
        ({"input": [-4]}, ValueError, "input: an axis must have 1 to .* got -4"),
        ({"input": [2.5]}, TypeError, "input: expected an array of whole numbers"),
        ({"input": None}, TypeError, "input"),
        ({"input": [2**40]}, ValueError, "input: an axis must have 1 to 2147483646 entries"),
        ({"seed": -1}, ValueError, "whole number from 0"),
        ({"seed": 2**64}, ValueError, "whole number from 0"),
        ({"seed": 0.5}, TypeError, "whole number"),
        ({"layers": []}, ValueError, "layers: expected at least one, got none"),
        ({"layers": [3]}, TypeError, "a layer must be a dict"),
        ({"layers": 3}, TypeError, "iterable|layers"),
        ({"layers": [{"kind": "dense"}]}, TypeError, "'name' must be given"),
        ({"layers": [{"name": "a"}]}, TypeError, "'kind' must be given"),
        ({"layers": [{"kind": "dens", "name": "a"}]}, ValueError, "a: no kind .* called 'dens'"),
        ({"layers": [{"kind": "dense", "name": 3}]}, TypeError, "name must be a str"),
        ({"layers": [{"kind": "dense", "name": ""}]}, ValueError, "name: expected 1 to 40 bytes"),
        ({"layers": [{"kind": "dense", "name": "a" * 41}]}, ValueError, "expected 1 to 40 bytes"),
        ({"layers": [{"kind": "dense", "name": "a\0b"}]}, ValueError, "expected 1 to 40 bytes"),
        ({"layers": [{"kind": "dense", "name": "input"}]}, ValueError, "'input' is taken"),
        ({"layers": [{"kind": "dense", "name": "a.b"}]}, ValueError, "taken, or has a dot"),
        ({"layers": [{"kind": "dense", "name": "a", "config": {"width": 3}}]}, TypeError,
         "a: no setting 'width'; it has units, "),
        ({"layers": [{"kind": "dense", "name": "a", "config": {"units": [0]}}]}, ValueError,
         r"a: units\[0\] must be from 1 to 1000000000, got 0"),
        ({"layers": [{"kind": "dense", "name": "a", "inputs": ["b"]}]}, ValueError,
         "a: inputs names 'b', which is no earlier layer"),
        ({"layers": [{"kind": "dense", "name": "a", "inputs": ["input"] * 5}]}, ValueError,
         "a: at most 4 inputs, got 5"),
        ({"layers": [{"kind": "dense", "name": "a", "config": {"units": [2]}},
                     {"kind": "dense", "name": "b", "config": {"units": [2]},
                      "inputs": ["input"]}]},
         ValueError, "a: no later layer reads its output"),
    ],
)  # fmt: skip
def test_bad_specs_are_refused(change, error, text):
    with pytest.raises(error, match=text):
        CORE32.Network(runs.spec() | change)
    with pytest.raises(TypeError):
        CORE32.Network(list((runs.spec() | change).items()))


def dense(*units):
    return [{"kind": "dense", "name": f"d{i}", "config": {"units": u}} for i, u in enumerate(units)]


@pytest.mark.parametrize(
    "spec",
    [
        {"input": [10**9], "layers": dense([10**9])},
        {"input": [10**9, 10**9, 10**9], "layers": dense([10**9])},
        {"input": [10**9, 10**9, 10**9, 10**9], "layers": dense([1])},
        {"input": [3], "layers": dense([10**9, 10**9, 10**9])},
        {"input": [10], "layers": [{"kind": "embedding", "name": "e",
                                    "config": {"vocabulary": 2**24, "units": 10**9}}]},
    ],
)  # fmt: skip
@pytest.mark.parametrize("core", BOTH, ids=name_of)
def test_absurd_sizes_are_a_memory_error(core, spec):
    with pytest.raises(MemoryError, match="no memory|out of memory"):
        core.Network(spec)


def test_absurd_batches_are_a_memory_error(net):
    many = np.broadcast_to(np.zeros(6, np.float32), (10**11, 6))
    for call in (net.predict, net.forward):
        with pytest.raises(MemoryError):
            call(many)


def test_a_huge_number_of_threads_is_limited():
    one, other = runs.network(), runs.network()
    runs.train(one, (x0, y0), 3)
    runs.train(other, (x0, y0), 3, threads=2 * 10**9)
    assert runs.same(runs.state(one), runs.state(other))


def test_a_batch_may_be_larger_than_the_data():
    one, other = runs.network(), runs.network()
    runs.train(one, (x0, y0), 3, batch=2**40)
    runs.train(other, (x0, y0), 3, batch=ROWS)
    assert runs.same(runs.state(one), runs.state(other))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda net: net.array("nothing"), KeyError, "nothing"),
        (lambda net: net.array("h0.mass", "third"), ValueError, "of: expected value, gradient"),
        (lambda net: net.activation("nothing"), KeyError, "nothing"),
        (lambda net: net.activation("h0", of="first"), ValueError, "expected value or gradient"),
        (lambda net: net.kill("in0", [0]), KeyError, "in0"),
        (lambda net: net.kill("h0", [0, 24]), ValueError, "no population of h0 has birth id 24"),
        (lambda net: net.kill("h0", [0, -1]), ValueError, "no population of h0 has birth id -1"),
        (lambda net: net.kill("h0", [0.5]), TypeError, "births: expected .* whole numbers"),
        (lambda net: net.shrink({"in0": [0, 99]}), ValueError, "in0 has no birth id 99"),
        (lambda net: net.shrink({"out": [0]}), ValueError, "populations can become extinct"),
        (lambda net: net.shrink({3: [0]}), ValueError, "populations can become extinct"),
        (lambda net: net.restore(-1, 0), ValueError, "restore: step: expected .*, got -1"),
        (lambda net: net.restore(2**63 - 1, 0), ValueError, "restore: step: expected"),
        (lambda net: net.restore(0, 2**63 - 1), ValueError, "restore: generation: expected"),
        (lambda net: net.restore(0, 10**30), ValueError, "restore: generation: .*, got 10{30}$"),
        (lambda net: net.update(10**400), ValueError, "expected a finite number"),
        (lambda net: CORE32.Network({}, most=10**40), ValueError, "most: expected a whole number"),
        (lambda net: net.update(1e200), ValueError, "rate: expected a number from 0 to 1e30"),
        (lambda net: net.evolve(np.nan), ValueError, "pressure: expected a number from 0"),
        (lambda net: net.configure(clip=10**400), ValueError, "expected a finite number"),
        (lambda net: net.predict(x0, 0), ValueError, "threads: expected"),
        (lambda net: net.predict(x0, 10**30), ValueError, "threads: expected"),
        (lambda net: net.evaluate(x0, y0, threads=-1), ValueError, "threads: expected"),
        (lambda net: net.scale_input(np.nan, 1), ValueError, "shift: expected finite numbers"),
        (lambda net: net.scale_input([1, 2], 1), ValueError, "shift: expected a number"),
        (lambda net: net.scale_input("x", 1), (ValueError, TypeError), "x|number"),
        (lambda net: net.update("fast"), TypeError, "real number"),
        (lambda net: net.evolve("hard"), TypeError, "real number"),
        (lambda net: net.predict(), TypeError, "predict"),
    ],
)  # fmt: skip
def test_bad_calls_change_nothing(net, call, error, text):
    refuses(net, error, text, lambda: call(net))


def test_calls_in_a_wrong_order_are_named():
    net = CORE32.Network(runs.spec())
    for call in (
        lambda: net.train(x0, y0, **good),
        lambda: net.evaluate(x0, y0),
        lambda: net.backward(y0),
        lambda: net.activation("h0"),
        lambda: net.update(0.1),
        lambda: net.evolve(0.1),
    ):
        with pytest.raises(RuntimeError, match="^network: no .* yet$"):
            call()
    assert net.predict(x0).shape == (ROWS, 3)
