"""Calls in the style of other libraries work, or the error names the right call."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from trainers import data, make, quiet, same

import evoprune as ep
from evoprune.records.former import NamedRow

pytestmark = quiet


def fit(trainer, *xy, **settings):
    return trainer.fit(*xy, **{"epochs": 4, "batch_size": 48, "progress": False, **settings})


def test_x_and_y_may_be_given_in_every_way():
    x, y = data()
    one = make()
    fit(one, (x, y), validation_data=(x, y))
    for given in ((x, y), (ep.datasets.arrays(x, y),), (x.tolist(), y.tolist())):
        other = make()
        fit(other, *given, validation_data=(x, y))
        same(one, other)
        assert one.evaluate(x, y) == other.evaluate((x, y)) == other.network.evaluate(x, y)
    part = make()
    fit(part, x, y, validation_data=(x, y), until=2)
    part.resume(x, y, validation_data=(x, y), progress=False)
    same(one, part)


def test_former_names_and_places_work_for_one_release():
    x, y = data()
    one = make()
    fit(one, (x, y), validation_data=(x, y))
    for settings, match in (
        ({"batch": 48, "epochs": 4}, "Trainer.fit: batch is now called batch_size"),
        ({"validation": (x, y), "batch_size": 48, "epochs": 4}, "validation_data"),
    ):
        other = make()
        if "validation" not in settings:
            settings["validation_data"] = (x, y)
        with pytest.warns(DeprecationWarning, match=match) as caught:
            other.fit((x, y), progress=False, **settings)
        assert caught[0].filename == __file__
        same(one, other)
    other = make()
    with pytest.warns(DeprecationWarning, match="give epochs and batch_size by name") as caught:
        other.fit((x, y), 4, 48, validation_data=(x, y), progress=False)
    assert caught[0].filename == __file__
    same(one, other)
    with pytest.raises(TypeError, match="batch_size is given twice"):
        fit(make(), x, y, batch=3)
    with pytest.raises(TypeError, match=r"expected fit\(data\) or fit\(x, y\)"):
        fit(make(), x, y, 20)
    with pytest.warns(DeprecationWarning, match="normalise is now called normalize"):
        old = ep.datasets.arrays(x, y, normalise="feature")
    assert np.array_equal(old.scale, ep.datasets.arrays(x, y, normalize="feature").scale)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(make(selection=None), x, y)


def test_validation_split_is_the_same_when_resumed():
    x, y = data()
    whole, parts = make(), make()
    fit(whole, x, y, validation_split=0.25)
    fit(parts, x, y, validation_split=0.25, until=1.6)
    state = parts.state()
    third = make()
    third.restore(state)
    third.resume(x, y, progress=False)
    same(whole, third)
    seed = whole.network.spec["seed"]
    rest, held = ep.datasets.arrays(x, y).split(0.25, seed)
    by_hand = make()
    fit(by_hand, rest, validation_data=held)
    assert np.array_equal(by_hand.history["validation_loss"], whole.history["validation_loss"])
    assert np.array_equal(by_hand.history.batch_losses, whole.history.batch_losses)
    for settings, error, match in (
        ({"validation_split": 1.0}, ValueError, "validation_split: expected a share between 0"),
        ({"validation_split": 0.001}, ValueError, "which of 240 samples is 0"),
        ({"validation_split": 1.5}, ValueError, "validation_split"),
        ({"validation_split": 0.2, "validation_data": (x, y)}, ValueError, "with validation_da"),
        ({"validation_data": 0.2}, TypeError, r"validation_split=0\.2"),
    ):
        with pytest.raises(error, match=match):
            fit(make(), x, y, **settings)
    with pytest.raises(TypeError, match="got batches; give validation_data"):
        fit(make(), [(x, y)], validation_split=0.2)


def test_one_callback_needs_no_list():
    x, y = data()

    class Count(ep.Callback):
        epochs = 0

        def on_epoch_end(self, trainer, row):
            self.epochs += 1

    one, other = Count(), Count()
    fit(make(), x, y, callbacks=one)
    fit(make(), x, y, callbacks=[other])
    assert one.epochs == other.epochs == 4
    for callbacks, match in (
        (ep.EarlyStopping, r"expected EarlyStopping\(...\), got the class"),
        ([ep.EarlyStopping], r"expected EarlyStopping\(...\), got the class"),
        ([None], "expected a Callback, got None"),
        (3, "callbacks: expected a list of callbacks, got 3"),
        ("early", "callbacks: expected a list of callbacks, got 'early'"),
    ):
        with pytest.raises(TypeError, match=match):
            fit(make(), x, y, callbacks=callbacks)


def test_misspelled_names_get_a_suggestion():
    x, y = data()
    images = np.zeros((6, 8, 8, 1))
    net = ep.cnn((8, 8, 1), (4,), 2)
    for call, match in (
        (lambda: ep.Malthusian(lifespam=3), "no setting 'lifespam'; .*did you mean lifespan"),
        (lambda: ep.Dense(unts=3), "no setting 'unts'; .*did you mean units"),
        (lambda: ep.AdamW(weight_deca=1), "no setting 'weight_deca'; .*did you mean weight_decay"),
        (lambda: fit(make(), x, y, epohcs=3),
         "no argument 'epohcs'; it has data, y, epochs, batch_size.*did you mean epochs"),
        (lambda: fit(make(), x, y, suffle=3), "no argument 'suffle'; .*did you mean shuffle"),
        (lambda: make().resume(x, y, util=3), "no argument 'util'; .*did you mean until"),
        (lambda: ep.datasets.arrays(x, y, clases="abc"), "did you mean classes"),
        (lambda: fit(ep.Trainer(net), images, [0, 1] * 3, augment={"shfit": 2}),
         "augment: no key 'shfit'; it has shift, flip, shape; did you mean shift"),
        (lambda: fit(ep.Trainer(net), images, [0, 1] * 3, augment={"rotate": 10}),
         "augment: no key 'rotate'; it has shift, flip, shape$"),
        (lambda: fit(ep.Trainer(net), images, [0, 1] * 3, augment={"flip": "no"}),
         "augment: flip: expected True or False, got 'no'"),
        (lambda: fit(ep.Trainer(net), images, [0, 1] * 3, augment={"shift": 1.5}),
         "augment: shift: expected a whole number, got 1.5"),
        (lambda: fit(ep.Trainer(net), images, [0, 1] * 3, augment="flip"),
         "augment: expected a dict or None, got 'flip'"),
    ):  # fmt: skip
        with pytest.raises(TypeError, match=match):
            call()
    for call, match in (
        (lambda: ep.Trainer(make().network, loss="cross_entrpy"), "did you mean cross_entropy"),
        (lambda: ep.datasets.arrays(x, y, normalize="features"), "did you mean feature"),
    ):
        with pytest.raises(ValueError, match=match):
            call()


@pytest.mark.parametrize(
    ("former", "name"),
    [("epochs", "epochs_done"), ("steps", "record_steps"), ("losses", "batch_losses")],
)
def test_former_names_of_a_history_s_attributes_warn(former, name):
    history = ep.History(("a",), (2,))
    history.add_steps(np.ones(3), np.zeros(3), np.ones(3))
    with pytest.warns(DeprecationWarning, match=f"History: {former} is now called {name}") as w:
        assert np.array_equal(getattr(history, former), getattr(history, name))
    assert w[0].filename == __file__


def test_the_former_name_of_a_column_warns_and_reads_the_current_one():
    history = ep.History(("a",), (2,))
    row = NamedRow(epoch=1.0, loss=0.5, floor_reached=3.0)
    history.add_epoch(row)
    for holder in (history, row):
        with pytest.warns(DeprecationWarning, match="held is now called floor_reached") as w:
            assert holder["held"] == 3
        assert w[0].filename == __file__
    assert "held" not in list(history)
    with pytest.raises(KeyError, match="no column 'weight'"):
        history["weight"]
    with pytest.raises(KeyError, match="weight"):
        row["weight"]


def test_a_former_name_of_a_column_in_a_file_name_warns(tmp_path):
    with pytest.warns(DeprecationWarning, match="held is now called floor_reached") as w:
        saver = ep.Checkpoint(tmp_path / "{epoch:02d}-{held:03d}.npz")
    assert w[0].filename == __file__
    saver._template.check(validates=False, metrics=())
    row = {"epoch": 2.0, "floor_reached": 7.0}
    assert saver._template.filled(row) == str(tmp_path / "02-007.npz")


def test_a_file_with_the_former_name_of_a_column_is_read():
    history = ep.History(("a",), (2,))
    history.add_epoch({"epoch": 1.0, "loss": 0.5, "held": 3.0})
    read = ep.History.from_bytes(history.to_bytes(), "a file")
    assert list(read) == ["epoch", "loss", "floor_reached"]
    assert read["floor_reached"] == 3


def test_the_former_spelling_of_the_colors_warns():
    with pytest.warns(DeprecationWarning, match="COLOURS is now called COLORS") as w:
        assert ep.plot.COLOURS == ep.plot.COLORS
    assert w[0].filename == __file__


def test_the_former_name_of_living_warns():
    history = ep.History(("a",), (2,))
    with pytest.warns(DeprecationWarning, match="History: alive is now called living"):
        assert np.array_equal(history.alive("a"), history.living("a"))


@pytest.mark.parametrize("name", ["constant", "cosine", "linear", "one_cycle", "warmup"])
def test_schedules_are_still_found_at_the_top_but_warn(name):
    with pytest.warns(
        DeprecationWarning, match=rf"evoprune.{name} is now called evoprune.sch"
    ) as w:
        assert getattr(ep, name) is getattr(ep.schedules, name)
    assert w[0].filename == __file__
    assert name not in ep.__all__


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_data_none_is_an_error_with_advice():
    x, y = data()
    trainer = make()
    pair = (x[:48], y[:48])
    for given, error, match in (
        ((pair, pair), TypeError, "got a tuple of two batches; give batches in a list"),
        ([pair, (x[:0], y[:0])], ValueError, "data: batch 1: expected at least one sample"),
        ([pair, x], TypeError, r"data: batch 1: expected \(x, y\), got ndarray"),
        (x, TypeError, r"without targets; give fit\(x, y\)"),
        ({"x": x}, TypeError, "data: expected a data set"),
    ):
        with pytest.raises(error, match=match):
            fit(trainer, given)
    with pytest.raises(TypeError, match="a data set, which has its own"):
        fit(trainer, ep.datasets.arrays(x, y), y)
    sparse = pytest.importorskip("scipy.sparse").csr_matrix(x)
    for call in (
        lambda: fit(trainer, sparse, y),
        lambda: fit(trainer, (sparse, y)),
        lambda: trainer.predict(sparse),
        lambda: trainer.evaluate(sparse, y),
        lambda: ep.datasets.arrays(sparse, y),
    ):
        with pytest.raises(TypeError, match=r"sparse csr_matrix; give \.toarray\(\)"):
            call()


def test_other_arguments_are_checked():
    x, y = data()
    trainer = make()
    net = trainer.network
    for until in (-1, np.nan, "2"):
        with pytest.raises((ValueError, TypeError), match="until: expected a number"):
            fit(trainer, x, y, until=until)
    for threads in (0, -1, 5000):
        with pytest.raises(ValueError, match="threads: expected a whole number from 1 to 1024"):
            net.predict(x, threads)
    with pytest.raises(TypeError, match="threads"):
        net.predict(x, threads=1.5)
    fit(trainer, x[:150], y[:150], until=2)
    with pytest.raises(ValueError, match="expected 150 samples .*as the run began with, got 170"):
        trainer.resume(x[:170], y[:170])
    for call in (
        lambda: ep.mlp(4, 8.7, 3),
        lambda: ep.mlp("4", 8, 3),
        lambda: ep.mlp(4, True, 3),
        lambda: ep.cnn((28.9, 28, 1), (4,), 2),
        lambda: ep.Sequential([ep.neurons(8.7)], input=4),
        lambda: ep.Dense(2.5),
        lambda: ep.Conv2d(4, 2.5),
        lambda: ep.Sequential([ep.Dense(3)], input=4.5),
        lambda: ep.charlm(11.5),
    ):
        with pytest.raises(TypeError, match="whole number"):
            call()
    with pytest.raises(ValueError, match="printable"):
        ep.Dense(3, name="two\nlines")


def test_the_environment_is_quoted(monkeypatch):
    monkeypatch.setenv("EVOPRUNE_NUM_THREADS", "abc")
    with pytest.raises(ValueError, match="EVOPRUNE_NUM_THREADS: expected .* got 'abc'"):
        ep.get_threads()


def test_a_text_of_other_codes_is_refused():
    one, other = (ep.datasets.Text(text * 60, context=6) for text in ("abcd ", "bcde "))
    net = ep.charlm(one.vocabulary, 6, dim=8, layers=1, heads=2)
    trainer = ep.Trainer(net, selection=None)
    for call in (
        lambda: fit(trainer, other.train, epochs=1),
        lambda: net.evaluate(other.train),
        lambda: net.predict(other.train),
    ):
        with pytest.raises(ValueError, match=r"vocabulary=network\.classes"):
            call()
    again = ep.datasets.Text("dcba " * 60, context=6, vocabulary=net.classes)
    assert again.vocabulary == one.vocabulary
    assert again.decode(again.codes[:5]) == "dcba "
    fit(trainer, again.train, epochs=1)
    with pytest.raises(ValueError, match="character 'e'"):
        ep.datasets.Text("bcde " * 60, context=6, vocabulary=net.classes)


def test_odd_numbers_are_refused_or_become_plain():
    huge, odd = 10**400, memoryview(np.zeros(3, ">f4"))
    for call, error, text in (
        (lambda: ep.Selection(upkeep=[1.0, huge]), ValueError, "upkeep: expected"),
        (lambda: ep.simulate("malthusian", [1.0, 2.0], [huge, 1.0]), ValueError, "fitness"),
        (lambda: fit(make(optimizer=ep.AdamW([1.0, huge])), *data()), ValueError, "expected"),
        (lambda: ep.History(["a"], odd), TypeError, "born: expected several items, got memoryview"),
        (lambda: ep.Sequential([ep.Dense(2)], input=odd), TypeError, "input: expected several"),
        (lambda: ep.Selection().strengths(np.zeros(3)), TypeError, "steps: expected a whole"),
        (lambda: fit(make(), *data(), class_weights=3), TypeError, "class_weights: expected Mapp"),
        (lambda: ep.CrossEntropy.counts_hits(odd), TypeError, "kind: expected the name of a loss"),
        (lambda: ep.CrossEntropy.counts_hits("x"), ValueError, "kind: expected one of"),
        (lambda: ep.EarlyStopping().restore(3), TypeError, "state: expected Mapping, got int"),
        (lambda: ep.ReduceOnPlateau().restore(3), TypeError, "state: expected Mapping, got int"),
        (lambda: ep.Checkpoint("a.safetensors").restore(3), TypeError, "state: expected Mapping"),
        (lambda: make().plan(np.zeros((2, 12)), 1e300), TypeError, "y: expected"),
    ):  # fmt: skip
        with pytest.raises(error, match=text):
            call()
    assert ep.Budget.interval(np.int8(100)) == 1
    x, y = data()
    trainer = make()
    fit(trainer, x, y, until=1)
    trainer.slow(np.float32(0.5))
    assert type(trainer.state()["run"]["slowed"]) is float
