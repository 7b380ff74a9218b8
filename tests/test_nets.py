"""Filters, heads and whole networks: their layers, their populations, and extinction.

Networks are tiny and train for a few dozen steps; accuracy is not tested here.
"""

from __future__ import annotations

import numpy as np
import pytest

import evoprune as ep
from evoprune.nets.plan import Plan

SELECTION = ep.Selection(2.0, dynamics=ep.Malthusian(lifespan=25), min_age=5)

IMAGES = {
    "lenet5": lambda **k: ep.lenet5((16, 16, 1), 4, filters=(6, 8), neurons=20, **k),
    "cnn": lambda **k: ep.cnn((16, 16, 1), (6, 8), 4, **k),
    "cnn_plain": lambda **k: ep.cnn((16, 16, 1), (6, 8), 4, norm=False, activation="tanh", **k),
    "resnet": lambda **k: ep.resnet(8, 4, input=(16, 16, 1), outputs=4, **k),
    "vit": lambda **k: ep.vit((16, 16, 1), 4, dim=16, layers=2, heads=4, hidden=24, **k),
}
NETS = {
    **IMAGES,
    "charlm": lambda **k: ep.charlm("abcdefgh", 12, dim=16, layers=2, heads=4, hidden=24, **k),
    "cnn_gelu": lambda **k: ep.Sequential(  # gelu cannot be combined with a folded mass
        [ep.filters(6, 3, "gelu"), ep.MaxPool(2), ep.filters(7, 3, "gelu", stride=2),
         ep.Flatten(), ep.neurons(9, "gelu"), ep.Dense(4)],
        input=(16, 16, 1), **k,
    ),
    "conv1d": lambda **k: ep.Sequential(
        [ep.filters(6, 5, pool=2), ep.filters(7, 3, norm=True), ep.MeanPool(), ep.Dense(4)],
        input=(64, 4), **k,
    ),
    "depthwise": lambda **k: ep.Sequential(
        [ep.filters(6, 3), ep.Conv2d(kernel=3, depthwise=True), ep.filters(7, 1, norm=True),
         ep.MeanPool(), ep.Dense(4)],
        input=(16, 16, 1), **k,
    ),
}  # fmt: skip


def data(net, n=48, seed=0):
    """Return images classified by the position of bright pixels, or sequences of letters."""
    random = np.random.default_rng(seed)
    if len(net.spec["input"]) == 1:
        codes = (random.integers(0, 8, (n, 1)) + np.arange(13)) % 8
        return codes[:, :-1].astype(np.uint8), codes[:, 1:].astype(np.uint8)
    y = np.arange(n) % 4
    x = random.normal(0, 0.5, (n, 256)) + np.repeat(np.eye(4), 64, axis=1)[y]
    return x.astype(np.float32), y


def trained(make, **settings):
    net = make(**settings)
    trainer = ep.Trainer(net, selection=SELECTION, optimizer=ep.AdamW(1e-3, weight_decay=0.1))
    trainer.fit(data(net), epochs=20, batch_size=16, progress=False)
    return net


@pytest.fixture(scope="module", params=NETS)
def net(request):
    """Return a network some of whose populations have become extinct in training."""
    return trained(NETS[request.param])


def test_extinct_populations_are_removed_from_every_array(net):
    assert net.alive.keys() == net.born.keys()
    assert sum(net.alive.values()) < sum(net.born.values())
    assert net.macs < net.founding_macs
    sizes = {axis["name"]: axis["n"] for axis in net.describe()["axes"]}
    assert {p["layer"]: sizes[p["axis"]] for p in net.describe()["populations"]} == net.alive
    for tensor in net.describe()["tensors"]:
        assert net[tensor["name"]].shape == tuple(sizes[axis] for axis in tensor["axes"])


def test_a_folded_network_has_no_masses_and_the_same_outputs(net):
    x, _ = data(net)
    folded = net.folded()
    assert np.abs(folded.predict(x) - net.predict(x)).max() < 3e-5
    assert not folded.born
    assert folded.macs == net.macs
    assert folded.founding_macs == net.macs


def test_expanded_copied_saved_networks_have_the_same_outputs(net, tmp_path):
    x, _ = data(net)
    expected = net.predict(x)
    expanded = net.expanded()
    assert np.allclose(expanded.predict(x), expected, atol=1e-5)
    founding = ep.Network(net.spec, net.dtype)
    assert [a.shape for _, a in expanded.items()] == [a.shape for _, a in founding.items()]
    assert expanded.macs == net.macs  # extinct populations cost nothing
    assert np.array_equal(net.copy().predict(x), expected)
    net.save(tmp_path / "net.safetensors")
    loaded = ep.load(tmp_path / "net.safetensors")
    assert np.array_equal(loaded.predict(x), expected)
    assert loaded.alive == net.alive
    assert loaded.notes == net.notes


@pytest.mark.parametrize("by", ["mass", "norm", "taylor", "random"])
def test_pruned_networks_still_compute(net, by):
    other = net.copy()
    cut = other.prune(keep=len(net.born) + 2, by=by, data=data(net))
    assert sum(other.alive.values()) == min(len(net.born) + 2, sum(net.alive.values()))
    assert sum(map(len, cut.values())) == sum(net.alive.values()) - sum(other.alive.values())
    assert np.isfinite(other.predict(data(net)[0])).all()


def test_a_network_is_described(net):
    text = repr(net)
    assert all(f" {net.alive[name]} / {net.born[name]}" in text for name in net.born)
    assert len(text.splitlines()) < 40
    assert "next extinction" in net.summary()
    assert "<table>" in net._repr_html_()


@pytest.mark.parametrize("name", NETS)
def test_gradients_are_those_of_the_loss(name):
    """Compare gradients with finite differences in float64, along a random direction."""
    net = NETS[name](dtype="float64", seed=3)
    x, y = data(net, 6)
    net.configure(loss="cross_entropy", loss_config={})
    random = np.random.default_rng(2)
    for key in net:
        if key.endswith((".bias", ".mass")):
            net[key] += random.uniform(-0.2, 0.2, net[key].shape)
    roles = {t["name"]: t["role"] for t in net.describe()["tensors"]}
    learn = [key for key, role in roles.items() if role != "tracked"]
    way = {key: random.standard_normal(net[key].shape) for key in learn}
    net.forward(x)
    net.backward(y)
    net.gradient()
    slope = sum(float((net.gradients[key] * way[key]).sum()) for key in learn)
    losses = []
    for step in (1e-6, -2e-6):
        for key in learn:
            net[key] += step * way[key]
        net.forward(x)
        losses.append(net.backward(y))
    assert slope == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("name", ["charlm", "vit", "resnet"])
def test_a_whole_residual_branch_can_go_extinct(name, tmp_path):
    net = NETS[name]()
    x, y = data(net)
    first = next(iter(net.born))
    net.kill(first, net.births(first))
    expected = net.predict(x)
    net.compact()
    assert np.allclose(net.predict(x), expected, atol=1e-6)
    assert net.alive[first] == 0
    own = {layer["name"]: layer["macs"] for layer in net.describe()["layers"]}
    assert not any(macs for layer, macs in own.items() if layer.startswith(f"{first}_"))
    trainer = ep.Trainer(net, selection=SELECTION.replace(floor=0), optimizer=ep.AdamW(1e-3))
    history = trainer.fit((x, y), epochs=20, batch_size=16, progress=False)
    assert np.isfinite(history.batch_losses).all()
    for other in (net.copy(), net.expanded(), net.folded()):
        assert np.allclose(other.predict(x), net.predict(x), atol=1e-5)
    net.save(tmp_path / "net.safetensors")
    assert np.array_equal(ep.load(tmp_path / "net.safetensors").predict(x), net.predict(x))
    assert f" 0 / {net.born[first]}" in repr(net)
    if name != "resnet":  # batch norms turn an empty branch into a constant, which is kept
        assert not any(layer["name"].startswith(first) for layer in net.folded().spec["layers"])
    assert net.summary()


# ---- layers and sizes ------------------------------------------------------------------------


def test_input_dropout_drops_features_in_training_only():
    net = ep.mlp(6, 6, input_dropout=0.25)
    net["dense1.weight"][...] = np.eye(6)
    net["populations1.bias"][...] = 0
    x = np.random.default_rng(0).uniform(1, 2, (500, 6)).astype(np.float32)
    y = net.forward(x)
    kept = y != 0
    np.testing.assert_allclose(y, kept * x / 0.75, rtol=1e-6)
    assert abs(kept.mean() - 0.75) < 5 * (0.25 * 0.75 / x.size) ** 0.5
    np.testing.assert_array_equal(net.predict(x), x)
    assert list(ep.mlp(6, 4, 3, input_dropout=0.2)) == list(ep.mlp(6, 4, 3))
    with pytest.raises(ValueError, match="rate"):
        ep.mlp(6, 4, 3, input_dropout=1)


def test_lenet5_is_caffe_s():
    net = ep.lenet5()
    assert net.born == {"filters1": 20, "filters2": 50, "neurons1": 500}
    assert net.macs == 2_293_000


def test_transformers_have_heads_and_neurons():
    net = ep.charlm(65, 64)
    assert list(net.born.values()) == [4, 512] * 4
    assert net.predict(np.zeros((2, 64), np.uint8)).shape == (2, 64, 65)
    assert ep.vit().predict(np.zeros((2, 784), np.uint8)).shape == (2, 10)
    assert ep.vit(dropout=0.1).born == ep.vit().born


def test_a_language_model_is_causal():
    net = NETS["charlm"]()
    one, other = np.zeros((2, 1, 12))
    other[0, 7:] = 3
    change = np.abs(net.predict(one) - net.predict(other)).max((0, 2))
    assert (change[:7] == 0).all()
    assert (change[7:] > 0).all()


def test_input_channels_can_be_populations():
    net = ep.cnn((8, 8, 3), (4,), 2, inputs=True)
    assert net.born == {"channels": 3, "filters1": 4}
    before = net.predict(np.ones((1, 8, 8, 3)))
    net.kill("channels", [1])
    net.compact()
    assert net["filters1_in.weight"].shape == (3, 3, 2, 4)
    assert net.predict(np.ones((1, 8, 8, 3))).shape == before.shape


def test_pooling_before_the_activation_is_the_same():
    inner = ep.Sequential([ep.filters(5, 3, "leaky_relu", pool=2)], input=(8, 8, 2))
    outer = ep.Sequential([ep.filters(5, 3, "leaky_relu"), ep.MaxPool(2)], input=(8, 8, 2))
    random = np.random.default_rng(0)
    for key, array in inner.items():
        if key.endswith((".weight", ".bias")):
            array[...] = random.standard_normal(array.shape)
            outer[key] = array
    x = random.standard_normal((3, 8, 8, 2))
    assert np.allclose(inner.predict(x), outer.predict(x), atol=1e-6)
    with pytest.raises(ValueError, match=r"gelu is not monotonic; put MaxPool\(2\) after"):
        ep.filters(5, 3, "gelu", pool=2)


def test_a_branch_ends_on_its_axes():
    plan = Plan()
    branch = [ep.LayerNorm(), ep.neurons(7, "gelu"), ep.Dense()]
    last = ep.Chain(ep.Dense(4), ep.Residual(*branch), ep.Residual(ep.heads(2, 3))).build(
        plan, "input"
    )
    inputs = {layer["name"]: layer["inputs"] for layer in plan.layers}
    assert last == "sum2"
    assert inputs["dense3"] == ["populations1", "dense1"]
    assert inputs["sum1"] == ["dense1", "dense3"]
    assert inputs["heads1_keys"] == ["sum1", "heads1_queries"]
    assert inputs["heads1_out"] == ["heads1", "sum1"]
    assert plan.streams == []
    text = repr(ep.Residual(*branch, shortcut=ep.Shortcut(9)))
    assert text.startswith("Residual(LayerNorm(), Chain(Dense(7), Populations('gelu')), Dense()")
    assert text.endswith("shortcut=Chain(Shortcut(9)))")


def test_a_shortcut_with_weights():
    branch = [ep.filters(5, 3, stride=2, padding=1), ep.Conv2d()]
    net = ep.Sequential(
        [ep.filters(3, 3), ep.Residual(*branch, shortcut=ep.Conv2d(6, 1, stride=2))],
        input=(8, 8, 1),
    )
    assert net.predict(np.zeros((1, 8, 8, 1))).shape == (1, 4, 4, 6)


def test_layers_can_be_wired_by_name():
    net = ep.Sequential(
        [
            ep.Dense(4, name="stem"),
            ep.neurons(5, name="left"),
            ep.Dense(inputs="stem", name="left_out"),
            ep.From("stem"),
            ep.neurons(6, name="right"),
            ep.Dense(inputs="stem", name="right_out"),
            ep.Sum(inputs=("left_out", "stem")),
        ],
        input=3,
    )
    assert net.born == {"left": 5, "right": 6}
    assert net.predict(np.zeros((1, 3))).shape == (1, 4)
    with pytest.raises(ValueError, match="From: no layer 'steam' so far; there are input, dense1"):
        ep.Sequential([ep.Dense(4), ep.From("steam")], input=3)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: ep.charlm(65, dim=30), r"heads: expected a number that divides dim \(30\), got 4"),
        (lambda: ep.resnet(21), r"depth: expected 6 n \+ 2"),
        (lambda: ep.vit(patch=5), "patches1: size must divide the 28 rows"),
        (lambda: ep.lenet5((6, 6, 1)), "filters2_in: a window of extent 5"),
        (lambda: ep.Sequential([ep.Conv2d(3), ep.Flatten(), ep.MaxPool(2)], input=(8, 8, 1)),
         "max_pool1: expected a dense layer after Flatten"),
        (lambda: ep.Sequential([ep.Dense()], input=3), "dense1: units must give 1 to"),
        (lambda: ep.Sequential([ep.Residual(ep.Dense(5))], input=3), "sum1"),
        (lambda: ep.Sequential([ep.heads(2, 3)], input=3), "heads1"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(make, text):
    with pytest.raises(ValueError, match=text):
        make()


# ---- generate --------------------------------------------------------------------------------


def test_a_model_that_learned_the_alphabet_continues_it():
    net = NETS["charlm"]()
    trainer = ep.Trainer(net, selection=None, optimizer=ep.AdamW(1e-2))
    trainer.fit(data(net, 64), epochs=30, batch_size=32, progress=False)
    assert ep.generate(net, "bcd", 20, temperature=0) == "efghabcdefghabcdefgh"
    assert ep.generate(net, "bcd", 20, temperature=0.5, top=1) == "efghabcdefghabcdefgh"
    assert ep.generate(net, "h", 9, temperature=9, seed=1) == ep.generate(
        net, "h", 9, temperature=9, seed=1
    )
    assert ep.generate(net, "h", 0) == ""


def test_wrong_prompts_are_named():
    net = NETS["charlm"]()
    with pytest.raises(ValueError, match="prompt: character 'x' at 1"):
        ep.generate(net, "ax")
    with pytest.raises(ValueError, match="prompt: expected at least one"):
        ep.generate(net, "")
    with pytest.raises(ValueError, match="vocabulary: must be given"):
        ep.generate(ep.charlm(8, 4, dim=8, layers=1), "a")
    with pytest.raises(ValueError, match=r"network: expected logits of shape \(12, 9\)"):
        ep.generate(net, "a", vocabulary="abcdefghi")


# ---- aliased gradients ------------------------------------------------------------------------


def branches(norm, **settings):
    """Return a network with residual branches, some of which can overwrite gradients."""
    nodes = [
        ep.Flatten(),
        ep.Dense(12),
        ep.Residual(norm(), ep.neurons(20), ep.Dense()),
        ep.Residual(norm(), ep.Dense(), ep.Dropout(0.2)),
        ep.Residual(norm(), ep.Residual(norm(), ep.Dense())),
        ep.Residual(ep.neurons(7), ep.Dense()),
        norm(),
        ep.Dense(4),
    ]
    return ep.Sequential(nodes, input=(16, 16, 1), **settings)


LENDING = {
    **NETS,
    "layer_norm": lambda **k: branches(ep.LayerNorm, **k),
    "rms_norm": lambda **k: branches(ep.RMSNorm, **k),
    "stream": lambda **k: ep.vit(
        (16, 16, 1), 4, dim=16, layers=2, heads=4, dropout=0.1, living_stream=True, **k
    ),
    "written": lambda **k: ep.Sequential(
        [
            ep.Patches(4),
            ep.Dense(8, contract=3),
            ep.Residual(ep.LayerNorm(), ep.Dense(), ep.Populations("silu")),
            ep.Take(mean=True),
            ep.Dense(4),
        ],
        input=(16, 16, 1),
        **k,
    ),
}


@pytest.mark.parametrize("name", LENDING)
def test_overwriting_gradients_leaves_results_bit_identical(name):
    """Single steps keep the gradients of all activations; a run keeps those of its last step."""
    whole, single = LENDING[name](seed=3), LENDING[name](seed=3)
    for net in (whole, single):
        net.configure(loss="cross_entropy", selection=SELECTION.config())
    x, y = data(whole)
    even = {"rate": 1e-3, "pressure": 2.0, "strength": 1.0}

    def go(net, first, steps, **more):
        pace = {key: np.full(steps, value) for key, value in even.items()}
        net.train(x, y, batch=16, first=first, **pace, **more)

    go(whole, 0, 5, threads=2)
    for step in range(5):
        go(single, step, 1)
    assert all(np.array_equal(whole[key], single[key]) for key in single)
    for layer in single.activation_gradients:
        one, other = (net.activation_gradients[layer] for net in (whole, single))
        assert np.array_equal(one, other), layer
    go(whole, 5, 2, keep=False)
    go(single, 5, 2)
    assert all(np.array_equal(whole[key], single[key]) for key in single)


@pytest.mark.parametrize("name", LENDING)
def test_a_gradient_that_was_not_kept_is_not_shown(name):
    net, kept = LENDING[name](seed=3), LENDING[name](seed=3)
    x, y = data(net)
    pace = {key: np.full(2, value) for key, value in (("rate", 1e-3), ("pressure", 0))}
    for it, keep in ((net, False), (kept, True)):
        it.configure(loss="cross_entropy")
        it.train(x, y, batch=16, first=0, **pace, strength=np.ones(2), keep=keep)
    lost = {}
    for layer, gradient in kept.activation_gradients.items():
        try:
            assert np.array_equal(net.activation_gradients[layer], gradient), layer
        except RuntimeError as error:
            lost[layer] = str(error)
    assert 2 < len(lost) < len(net.activation_gradients)
    assert all(f"{layer}: its gradient was not kept" in text for layer, text in lost.items())
    net.forward(x[:16], training=True)
    net.backward(y[:16])
    for layer in lost:
        assert np.isfinite(net.activation_gradients[layer]).all()


def test_gradients_that_can_be_read_are_kept():
    """All gradients are kept where a callback may read them, and at the end of a run."""

    class Look(ep.Callback):
        seen = 0

        def on_epoch_end(self, trainer, row):
            self.seen += sum(np.abs(g).sum() > 0 for g in net.activation_gradients.values())

    net, look = NETS["cnn"](seed=3), Look()
    ep.Trainer(net, selection=None).fit(
        data(net), epochs=2, batch_size=16, progress=False, callbacks=[look]
    )
    assert look.seen > 10
    ep.Trainer(net, selection=None).fit(data(net), epochs=2, batch_size=16, progress=False)
    assert all(np.isfinite(gradient).all() for gradient in net.activation_gradients.values())
