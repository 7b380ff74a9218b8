"""The meaning of inputs: raw samples, labels by name, layouts, numbers of any size.

The expected values are computed by NumPy in float64.
"""

from __future__ import annotations

import numpy as np
import pytest

import evoprune as ep

arrays = ep.datasets.arrays


def data(n=90, features=5, seed=0):
    """Return samples far from 0, in three linearly separable classes."""
    random = np.random.default_rng(seed)
    x = random.normal(0, 1, (n, features))
    y = (x @ random.normal(size=(features, 3))).argmax(1)
    return 30 + 7 * x, y


def fit(net, *xy, loss="cross_entropy", **settings):
    """Return a trainer after a short run without selection."""
    trainer = ep.Trainer(net, selection=None, loss=loss, optimizer=ep.AdamW(1e-2))
    trainer.fit(*xy, **{"epochs": 4, "batch_size": 16, "progress": False, **settings})
    return trainer


# ---- forms of data -------------------------------------------------------------------------------


def test_a_network_scales_its_inputs_once():
    x, y = data()
    train = arrays(x, y, normalize="feature")
    net = fit(ep.mlp(5, 16, 3), train).network
    plain = net.copy()
    plain.scale_input()
    expected = plain.predict((x - x.mean(0)) / x.std(0))
    part = train.subset([7, 3, 50])
    for given, rows in (
        (train, slice(None)),
        (x, slice(None)),
        (train.batch()[0], slice(None)),
        (np.asarray(train), slice(None)),
        (part, [7, 3, 50]),
        (part.batch()[0], [7, 3, 50]),
        (part.x, [7, 3, 50]),
        (train[4:9], slice(4, 9)),
        (train[4][0], 4),
        (x[4].tolist(), 4),
    ):
        assert np.allclose(net.predict(given), expected[rows], atol=1e-5)
        assert np.array_equal(net(given), net.predict(given))
        forward = net.forward(given, training=False)
        assert np.allclose(forward, np.atleast_2d(expected[rows]), atol=1e-5)
    whole = net.evaluate(train)
    assert whole == net.evaluate(x, y) == net.evaluate((x, y)) == net.evaluate(train.batch())
    assert whole == net.evaluate(arrays(x, y))  # raw samples without a scaling
    assert whole.accuracy == pytest.approx((expected.argmax(1) == y).mean())
    assert net.evaluate(part).loss == pytest.approx(net.evaluate(x[[7, 3, 50]], y[[7, 3, 50]]).loss)
    one = net.evaluate(x[4], y[4])
    assert one.weight == 1
    assert one.accuracy == (expected[4].argmax() == y[4])


def test_a_data_set_is_a_sequence_of_raw_samples():
    x = np.arange(48.0).reshape(6, 2, 4)
    whole = arrays(x, np.arange(6), normalize="feature")
    part = whole.subset([5, 1, 2])
    assert len(part) == 3
    assert np.array_equal(part.x, x.reshape(6, 8)[[5, 1, 2]])
    assert part.y.tolist() == [5, 1, 2]
    sample, target = part[0]
    assert np.array_equal(sample, x[5])
    assert target == part[-3][1] == 5
    assert [int(target) for _, target in part] == [5, 1, 2]
    assert part[1:].y.tolist() == part[[1, 2]].y.tolist() == [1, 2]
    assert np.array_equal(np.asarray(part), x[[5, 1, 2]])
    assert np.asarray(part, np.float32).dtype == np.float32
    assert np.array_equal(part.batch([2])[0], x.reshape(6, 8)[[2]])
    assert np.array_equal(whole.split(2, seed=1)[1].x, x.reshape(6, 8)[whole.split(2, 1)[1].y])
    with pytest.raises(IndexError, match="expected a number below 3, got 3"):
        part[3]
    with pytest.raises(TypeError, match="index: expected a whole number"):
        part["a"]


def test_training_on_raw_data_keeps_the_scaling_of_the_network():
    x, y = data()
    net = ep.mlp(5, 8, 3)
    net.scale_input(30.0, 1 / 7)
    fit(net, arrays(x, y))
    assert net.input_scaling == (30.0, 1 / 7)


def test_pictures_take_data_sets_and_samples():
    plot = pytest.importorskip("evoprune.plot")
    pytest.importorskip("matplotlib")
    vit = ep.vit((8, 8, 1), 3, patch=4, dim=8, layers=1, heads=2)
    vit.scale_input(100.0, 0.02)
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), np.uint8)
    test = arrays(images, [0, 1, 2, 0])

    def maps(*given, **settings):
        return [image.get_array() for image in plot.heads(vit, *given, **settings).images]

    expected = maps(images[[2]])
    for drawn in (
        maps(test, sample=2),
        maps(test.subset([2])),
        maps(images, sample=2),
        maps(images[2]),
        maps(test[2][0]),
        maps(images.reshape(4, 64), sample=2),
    ):
        assert all(np.array_equal(a, b) for a, b in zip(drawn, expected, strict=True))
    with pytest.raises(ValueError, match="sample: expected a whole number from 0 to 3"):
        plot.heads(vit, test, sample=4)
    wide = ep.mlp(32, 6, 2)
    pictures = [plot.filters(wide, shape=s).images[0].get_array().shape
                for s in ((4, 8), np.zeros((3, 4, 8)), np.zeros((4, 8)),
                          arrays(np.zeros((3, 4, 8, 1)), [0, 1, 1]))]  # fmt: skip
    assert len(set(pictures)) == 1


def test_predictions_have_probabilities_and_names(tmp_path):
    x, y = data()
    names = np.array(["low", "mid", "high"])
    train = arrays(x, names[y], classes=("low", "mid", "high"), normalize="feature")
    net = fit(ep.mlp(5, 16, 3), train).network
    assert net.classes == ("low", "mid", "high")
    logits = net.predict(x).astype(np.float64)
    powers = np.exp(logits)
    assert np.allclose(net.predict_proba(x), powers / powers.sum(1, keepdims=True), atol=1e-6)
    assert np.array_equal(net.predict_classes(x), logits.argmax(1))
    assert np.array_equal(net.predict_classes(x, names=True), names[logits.argmax(1)])
    assert net.predict_classes(x[3], names=True) == names[logits[3].argmax()]
    net.save(tmp_path / "net.safetensors")
    again = ep.load(tmp_path / "net.safetensors")
    assert again.classes == net.classes
    assert np.array_equal(again.predict(x), net.predict(x))
    assert again.input_scaling[0] == pytest.approx(x.mean(0), rel=1e-15)  # the file stores float64
    nameless = fit(ep.mlp(5, 8, 3), x, y).network
    assert nameless.classes is None
    with pytest.raises(ValueError, match="names: expected a network with class names"):
        nameless.predict_classes(x, names=True)
    two = fit(ep.mlp(5, 8, 1), x, np.where(y == 1, "yes", "no"), loss="binary_cross_entropy")
    two = two.network
    chances = 1 / (1 + np.exp(-two.predict(x).astype(np.float64)))
    assert np.allclose(two.predict_proba(x), chances, atol=1e-6)
    assert np.array_equal(two.predict_classes(x), chances[:, 0] > 0.5)
    assert set(two.predict_classes(x, names=True)) <= {"yes", "no"}
    values = fit(ep.mlp(5, 8, 1), x, x[:, :1] / 30, loss="mean_squared_error").network
    with pytest.raises(TypeError, match="expected a network for classes"):
        values.predict_proba(x)


def test_the_vocabulary_is_stored_in_the_network(tmp_path):
    path = tmp_path / "some.txt"
    path.write_bytes("\ufeff".encode() + b"abcdefgh " * 60)
    book = ep.datasets.text(path, 8)
    assert book.vocabulary == " abcdefgh"  # without the byte order mark
    net = ep.charlm(book.vocabulary, 8, dim=16, layers=1, heads=2)
    fit(net, book.train, epochs=1)
    net.save(tmp_path / "net.safetensors")
    again = ep.load(tmp_path / "net.safetensors")
    text = ep.generate(again, length=20)  # the default prompt is the vocabulary's first character
    assert len(text) == 20
    assert set(text) <= set(book.vocabulary)
    for settings, error, match in (
        ({"seed": -1}, ValueError, "seed: expected a whole number from 0"),
        ({"seed": 1.5}, TypeError, "seed: expected a whole number"),
        ({"prompt": ""}, ValueError, "prompt: expected at least one"),
    ):
        with pytest.raises(error, match=match):
            ep.generate(again, length=2, **settings)
    again[next(iter(again))] = np.nan
    with pytest.raises(ValueError, match="network: expected finite logits"):
        ep.generate(again, length=2)


# ---- labels --------------------------------------------------------------------------------------

X3 = np.zeros((3, 2))


def test_codes_are_places_in_classes():
    def names(made):
        return [made.classes[code] for code in made.y]

    given = ["low", "mid", "high"]
    assert names(arrays(X3, given, classes=("low", "mid", "high"))) == given
    assert arrays(X3, ["dog", "cat", "dog"], classes=["bird", "cat", "dog"]).y.tolist() == [2, 1, 2]
    train = arrays(X3, ["cat", "dog", "fox"])
    assert names(arrays(X3[:2], ["dog", "fox"], classes=train.classes)) == ["dog", "fox"]
    with pytest.raises(ValueError, match=r"classes cat, dog, fox, got 'wolf' in row 1"):
        arrays(X3[:2], ["fox", "wolf"], classes=train.classes)
    with pytest.raises(ValueError, match=r"classes a, b, c, got 'd' in row 2"):
        arrays(np.zeros((4, 2)), list("abdc"), classes="abc")
    assert arrays(X3, ["10", "2", "9"]).classes == ("2", "9", "10")
    assert arrays(X3, ["10", "2", "9"]).y.tolist() == [2, 0, 1]
    assert arrays(X3, ["10", "2", "x"]).classes == ("10", "2", "x")
    assert arrays(X3, [7, 3, 7], classes=(3, 7)).y.tolist() == [1, 0, 1]
    assert arrays(X3, [True, False, True], classes=("no", "yes")).y.tolist() == [1, 0, 1]
    assert arrays(X3, [True, False, True], classes=(True, False)).y.tolist() == [0, 1, 0]
    assert arrays(X3, [2.0, 0.0, 1.0], classes="abc").y.tolist() == [2, 0, 1]
    assert arrays(X3, np.eye(3)[[2, 0, 1]], classes="abc").y.tolist() == [2, 0, 1]
    for y, match in (
        ([0, 1, 3], "classes a, b, c, got 3 in row 2"),
        ([0, -1, 1], "classes a, b, c, got -1 in row 1"),
        ([0, np.nan, 1], r"missing label \(nan\) in row 1"),
        (["a", None, "b"], r"missing value \(None\) in row 1"),
    ):
        with pytest.raises(ValueError, match=match):
            arrays(X3, y, classes="abc")
    with pytest.raises(TypeError, match="whole-number class labels, got 0.5 in row 0"):
        arrays(X3, [0.5, 1, 2], classes="abc")
    with pytest.raises(ValueError, match="classes: expected different names"):
        arrays(X3, [0, 1, 2], classes=("a", "b", "a"))
    assert arrays(X3, [3, 2**40, 5]).classes is None  # values, not labels of that many classes


def test_validation_and_test_sets_are_read_by_the_training_classes():
    x, y = data()
    names = np.array(["ant", "bee", "cow"])
    train = arrays(x, names[y], normalize="feature")
    later = y > 0
    lacking = arrays(x[later], names[y[later]])  # codes of this set: bee 0, cow 1
    assert lacking.classes == ("bee", "cow")
    net = ep.mlp(5, 16, 3)
    trainer = fit(net, train, validation_data=lacking, epochs=20)
    right = (net.predict(x[later]).argmax(1) == y[later]).mean()
    assert right > 0.8
    assert trainer.history["validation_accuracy"][-1] == pytest.approx(right)
    for given in (
        (lacking,),
        (x[later], names[y[later]]),
        (x[later], y[later]),
        (x[later], y[later].astype(float)),
        (x[later], np.eye(3)[y[later]]),
        (x[later], list(names[y[later]])),
    ):
        assert net.evaluate(*given).accuracy == pytest.approx(right)
        assert trainer.evaluate(*given).accuracy == pytest.approx(right)
    strange = arrays(x[:4], ["ant", "elk", "bee", "elk"])
    with pytest.raises(ValueError, match="ant, bee, cow, got 'elk' in row 1"):
        net.evaluate(strange)
    assert net.evaluate(strange.subset([0, 2])).weight == 2  # only chosen rows are read
    with pytest.raises(ValueError, match="got 'elk' in row 1"):
        fit(ep.mlp(5, 8, 3), train, validation_data=strange)
    nameless = ep.mlp(5, 8, 3)
    with pytest.raises(ValueError, match="the network has no class names"):
        nameless.evaluate(x, names[y])


def test_a_subset_of_the_classes_trains_with_fewer_outputs():
    x, y = data()
    whole = arrays(x, np.array(["a", "b", "c"])[y], normalize="feature")
    part = whole.subset(np.flatnonzero(y < 2))
    trainer = fit(ep.mlp(5, 16, 2), part, validation_data=part, epochs=20)
    assert trainer.network.classes == ("a", "b")
    assert trainer.evaluate(part).accuracy > 0.9
    assert trainer.network.evaluate(part) == trainer.evaluate(part)
    with pytest.raises(ValueError, match="row"):
        trainer.evaluate(whole)
    floats = np.where(y < 2, y.astype(float), np.nan)  # unchosen rows may have any value
    odd = ep.datasets.Dataset(x, floats, rows=np.flatnonzero(y < 2))
    assert np.isfinite(fit(ep.mlp(5, 8, 2), odd).history["loss"]).all()


def test_categories_keep_their_order():
    pandas = pytest.importorskip("pandas")
    kind = pandas.CategoricalDtype(["low", "mid", "high"], ordered=True)
    made = arrays(X3, pandas.Series(["high", "low", "high"], dtype=kind))
    assert made.classes == ("low", "mid", "high")
    assert made.y.tolist() == [2, 0, 2]
    other = arrays(X3, pandas.Categorical(["mid", "low", "mid"]), classes=made.classes)
    assert other.y.tolist() == [1, 0, 1]


# ---- layouts of images ---------------------------------------------------------------------------


def test_images_of_another_layout_are_refused():
    net = ep.cnn((8, 8, 3), (4,), 2)
    x = np.random.default_rng(0).normal(size=(5, 8, 8, 3)).astype(np.float32)
    y = [0, 1, 0, 1, 0]
    swapped = x.transpose(0, 3, 1, 2)
    expected = net.predict(x)
    assert np.array_equal(net.predict(x.reshape(5, 192)), expected)
    assert np.array_equal(net.predict(x[0]), expected[0])
    assert np.array_equal(net.predict(arrays(x, y)), expected)
    match = r"expected samples of shape \(8, 8, 3\).* got .*\(5, 3, 8, 8\)"
    of_set = r"expected samples of shape \(8, 8, 3\).* got samples of shape \(3, 8, 8\)"
    for call, text in (
        (lambda: net.predict(swapped), match),
        (lambda: net.predict(arrays(swapped, y)), of_set),
        (lambda: net.evaluate(swapped, y), match),
        (lambda: net.forward(swapped), match),
        (lambda: fit(net, swapped, y), match),
        (lambda: fit(net, [(swapped, y)]), match),
        (lambda: fit(net, arrays(swapped, y)), of_set),
        (lambda: fit(net, x, y, validation_data=(swapped, y)), match),
        (lambda: net.predict(x[:, :4]), r"\(5, 4, 8, 3\)"),
    ):
        with pytest.raises(ValueError, match=text):
            call()
    grey = ep.cnn((6, 4, 1), (4,), 2)
    images = x[:, :6, :4, 0]
    assert np.array_equal(grey.predict(images), grey.predict(images[..., None]))
    with pytest.raises(ValueError, match=r"\(5, 4, 6\)"):
        grey.predict(images.transpose(0, 2, 1))
    flat = ep.mlp(24, 4, 2)  # a network of flat rows accepts any layout
    assert np.array_equal(flat.predict(images), flat.predict(images.reshape(5, 24)))


# ---- numbers -------------------------------------------------------------------------------------

OFFSETS = {
    "seconds": 1.7e9 + 60.0 * np.arange(5000),
    "ids": 2.0**31 + np.arange(1000),
    "narrow": 1e6 + np.random.default_rng(0).uniform(-1, 1, 1000),
}


@pytest.mark.parametrize("name", OFFSETS)
@pytest.mark.parametrize("kind", ["f8", ">f8", "i8", "u8", "u4"])
@pytest.mark.parametrize("normalize", ["feature", "global"])
def test_large_offsets_keep_their_digits(name, kind, normalize):
    x = OFFSETS[name].astype(kind)[:, None]
    mean, std = x.astype(np.float64).mean(), x.astype(np.float64).std()
    wanted = (x.astype(np.float64) - mean) / std
    made = arrays(x, np.zeros(len(x), int), normalize=normalize)
    assert np.abs(made.scaled() - wanted).max() < 1e-6
    net = ep.Sequential([ep.Dense(1)], input=1)
    net["dense1.weight"] = 1.0
    fit(net, made, epochs=0)
    assert np.abs(net.predict(x) - wanted).max() < 1e-6
    assert np.abs(net.forward(x) - wanted).max() < 1e-6
    assert len(np.unique(net.predict(made))) == len(np.unique(wanted.astype(np.float32)))


@pytest.mark.parametrize("kind", ["f4", "u2", "i2", "i4", "u1", "i1"])
def test_every_type_is_shifted_before_it_is_rounded(kind):
    top = {"f4": 1e6, "u2": 60000, "i2": 30000, "i4": 2**30, "u1": 200, "i1": 100}[kind]
    x = (top + np.random.default_rng(1).integers(0, 9, (500, 3))).astype(kind)
    wanted = (x.astype(np.float64) - x.mean(0, np.float64)) / x.std(0, np.float64)
    net = ep.Sequential([ep.Dense(3)], input=3)
    net["dense1.weight"] = np.eye(3)
    made = arrays(x, np.zeros(500, int), normalize="feature")
    fit(net, made, epochs=0)
    atol = 2e-5 if top < 256 else 1e-6  # 8-bit inputs use a rounded shift
    assert np.abs(net.predict(x) - wanted).max() < atol
    net = ep.Sequential([ep.Dense(3)], input=3)
    net["dense1.weight"] = np.eye(3)
    net.scale_input(float(top) + 0.1, 0.25)
    moved = net.predict(x)
    assert np.abs(moved - (x.astype(np.float64) - top - 0.1) / 4).max() < atol


def test_constant_features_have_scale_one():
    random = np.random.default_rng(0)
    for value in (0.1, 14.62, 1 / 3, 2.7, 1e6 + 0.1, -7e-9, 0.0, 1e300):
        for n in (7, 1000, 60_000):
            for column in (np.full(n, value), value * (1 + 2e-16 * random.integers(-1, 2, n))):
                x = np.c_[column, np.arange(n)]
                made = arrays(x, np.zeros(n, int), normalize="feature")
                assert made.scale[0] == 1
                assert made.scale[1] == pytest.approx(1 / x[:, 1].std())
        assert arrays(np.full((40, 2), value), np.zeros(40, int), normalize="global").scale == 1
    train = arrays(np.c_[np.full(1000, 0.1), np.arange(1000.0)], np.zeros(1000, int),
                   normalize="feature")  # fmt: skip
    test = arrays([[0.2, 0.0]], [0], shift=train.shift, scale=train.scale)
    assert test.scaled()[0, 0] == pytest.approx(0.1)
    tiny = arrays(1 + 1e-12 * np.arange(50.0)[:, None], np.zeros(50, int), normalize="feature")
    assert tiny.scale[0] == pytest.approx(1 / (1e-12 * np.arange(50)).std(), rel=1e-3)


def test_what_is_not_finite_is_named_before_the_first_step():
    x, y = data()
    net = ep.mlp(5, 8, 3)
    for value in (np.nan, np.inf, -np.inf):
        bad = x.copy()
        bad[7, 3] = value
        for call in (
            lambda bad=bad: fit(net, bad, y),
            lambda bad=bad: fit(net, arrays(bad, y)),
            lambda bad=bad: fit(net, x, y, validation_data=(bad, y)),
            lambda bad=bad: net.evaluate(bad, y),
            lambda bad=bad: net.predict(bad),
            lambda bad=bad: net.forward(bad),
        ):
            with pytest.raises(ValueError, match=r"x: expected finite numbers, got .* in row 7, c"):
                call()
        assert net.step == 0
        fit(ep.mlp(5, 8, 3), arrays(bad, y).subset(np.delete(np.arange(len(x)), 7)), epochs=1)
    gap = x[:, :1].copy()
    gap[4] = np.nan
    with pytest.raises(ValueError, match="row 4"):
        fit(ep.mlp(5, 8, 1), x, gap / 30, loss="mean_squared_error")


def test_targets_and_codes_out_of_range_are_named():
    x, y = data()
    with pytest.raises(ValueError, match=r"\[0, 2\], got 3 in row 9"):
        fit(ep.mlp(5, 8, 3), x, np.where(np.arange(len(y)) == 9, 3, y))
    signs = np.where(x[:, :1] > 30, 1.0, -1.0)
    row = int(np.flatnonzero(signs[:, 0] < 0)[0])
    with pytest.raises(ValueError, match=rf"\[0, 1\], got -1 in row {row}"):
        fit(ep.mlp(5, 8, 1), x, signs, loss="binary_cross_entropy")
    codes = np.array([[0, 1, 5]])
    reader = ep.Sequential([ep.Embedding(5, 8), ep.Dense(5, gain=1.0)], input=3)
    with pytest.raises(ValueError, match=r"codes in \[0, 4\], got 5 in row 0, column 2"):
        fit(reader, codes, np.array([[0, 1, 2]]))


def test_batch_norm_of_one_value_is_refused_and_kept_out_of_what_is_tracked():
    random = np.random.default_rng(0)
    x = random.normal(3, 2, (401, 5))
    y = (x[:, 0] > 3).astype(int)

    def net():
        return ep.Sequential(
            [ep.Dense(16), ep.BatchNorm(), ep.neurons(16), ep.Dense(2, gain=1.0)], input=5
        )

    with pytest.raises(ValueError, match="batch_size: expected at least 2, for a batch norm"):
        fit(net(), x, y, batch_size=1)
    for batch, epochs in ((2, 10), (32, 10), (400, 100)):  # the last batch has one sample
        trainer = fit(net(), x, y, batch_size=batch, epochs=epochs)
        assert trainer.evaluate(x, y).accuracy > 0.9
    one = net()
    one.configure(loss="cross_entropy")
    before = {name: one[name].copy() for name in one if "batch_norm" in name}
    fit(one, [(x[:1], y[:1])], epochs=1)
    for name in ("mean", "variance"):
        tracked = next(n for n in before if n.endswith(name))
        assert np.array_equal(one[tracked], before[tracked])


def test_targets_of_a_large_scale_are_scaled_or_warned_about(tmp_path):
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 4))
    y = 2500 + 800 * (x @ [[1.0, 0.5], [-1, 0], [0.5, 1], [0, 2]]) + random.normal(size=(300, 2))
    with pytest.warns(UserWarning, match="normalize_target=True"):
        fit(ep.mlp(4, 8, 2), x, y, loss="mean_squared_error", epochs=1)
    made = arrays(x, y, normalize_target=True)
    assert made.target_shift == pytest.approx(y.mean(0))
    assert made.target_scale == pytest.approx(1 / y.std(0))
    settings = {"loss": "mean_squared_error", "epochs": 60, "validation_data": (x, y)}
    trainer = fit(ep.mlp(4, 32, 2), made, **settings)
    net = trainer.network
    predicted = net.predict(x)
    error = ((predicted - y) ** 2).mean(0) / y.var(0)
    assert (error < 0.02).all()  # predictions are in the units of y
    score = net.evaluate(made)
    assert score.loss == net.evaluate(x, y).loss == trainer.evaluate(made).loss
    wanted = (((predicted - y) / y.std(0)) ** 2).mean()
    ratio = score.loss / wanted
    assert ratio == pytest.approx(round(ratio * 2) / 2, rel=1e-3)  # the loss may have a factor 1/2
    assert trainer.history["validation_loss"][-1] == pytest.approx(score.loss, rel=1e-5)
    net.save(tmp_path / "net.safetensors")
    for other in (ep.load(tmp_path / "net.safetensors"), net.copy(), net.folded(), net.expanded()):
        assert np.allclose(other.predict(x), predicted, rtol=1e-4)
    assert np.allclose(net.predict(x[3]), predicted[3])
    with pytest.raises(TypeError, match="expected values, got class labels"):
        arrays(x, ["a", "b"] * 150, normalize_target=True)
    with pytest.raises(ValueError, match="y: expected finite numbers, got nan in row 0"):
        arrays(x[:2], [[np.nan], [1]], normalize_target=True)
