"""Networks with published weights: ResNets give the expected logits and can be trained."""

from __future__ import annotations

import numpy as np
import pytest
from reference import resnet

import evoprune as ep
from evoprune.nets import published


def arrays(depth, width=16, seed=0, learned=False, biases=False):
    """Return arrays of an untrained ResNet, with the published names."""
    random, blocks = np.random.default_rng(seed), (depth - 2) // 6
    made = {}

    def convolution(name, norm, out, into, size=3):
        shape = (out, into, size, size)
        made[f"{name}.weight"] = random.normal(0, (size * size * into) ** -0.5, shape)
        if biases:
            made[f"{name}.bias"] = random.normal(0, 1, out)
        made[f"{norm}.weight"], made[f"{norm}.bias"] = random.uniform(0.5, 1.5, (2, out))
        made[f"{norm}.running_mean"] = random.normal(0, 0.3, out)
        made[f"{norm}.running_var"] = random.uniform(0.5, 1.5, out)

    convolution("conv1", "bn1", width, 3)
    into = width
    for stage in range(3):
        for block in range(blocks):
            out, name = width << stage, f"layer{stage + 1}.{block}"
            convolution(f"{name}.conv1", f"{name}.bn1", out, into)
            convolution(f"{name}.conv2", f"{name}.bn2", out, out)
            if learned and into < out:
                convolution(f"{name}.shortcut.0", f"{name}.shortcut.1", out, into, 1)
            into = out
    made["linear.weight"] = random.normal(0, 0.1, (10, into))
    made["linear.bias"] = random.normal(0, 0.1, 10)
    return {name: values.astype(np.float32) for name, values in made.items()}


@pytest.fixture
def images():
    return np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)


def agree(got, expected):
    assert np.abs(got - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize(("depth", "width"), [(8, 4), (14, 6)])
def test_arrays_by_published_names_give_the_twin_s_logits(depth, width, images):
    made = arrays(depth, width)
    agree(ep.load_resnet(made).predict(images), resnet.logits(made, images))


@pytest.mark.parametrize("depth", [20, 56])
def test_published_weights_give_the_twin_s_logits(depth, images, data_root):
    path = data_root("pretrained-resnet-cifar10") / f"resnet{depth}.npz"
    net = ep.load_resnet(path)
    assert len(net.born) == (depth - 2) // 2
    with np.load(path) as made:
        agree(net.predict(images), resnet.logits(dict(made), images))


def test_loaded_networks_learn_under_selection(images):
    net = ep.load_resnet(arrays(8, 4))
    selection = ep.Selection(1.0, dynamics=ep.Malthusian(lifespan=20), min_age=5)
    trainer = ep.Trainer(net, selection=selection, optimizer=ep.AdamW(1e-4))
    trainer.fit(
        (np.repeat(images, 20, 0), np.arange(60) % 10), epochs=15, batch_size=20, progress=False
    )
    assert 0 < sum(net.alive.values()) < sum(net.born.values())
    agree(net.folded().predict(images), net.predict(images))


@pytest.mark.parametrize("learned", [False, True], ids=["zeros", "learned"])
@pytest.mark.parametrize("biases", [False, True], ids=["plain", "biases"])
def test_learned_shortcuts_and_biases_of_convolutions_count(learned, biases, images):
    made = arrays(14, 4, learned=learned, biases=biases)
    net = ep.load_resnet(made)
    agree(net.predict(images), resnet.logits(made, images))
    agree(net.folded().predict(images), resnet.logits(made, images))


def test_shortcuts_of_one_stage_may_be_learned(images):
    made = arrays(8, 4, learned=True)
    made = {name: a for name, a in made.items() if not name.startswith("layer3.0.shortcut")}
    agree(ep.load_resnet(made).predict(images), resnet.logits(made, images))
    with pytest.raises(ValueError, match=r"learned_shortcuts: expected stages 2, 3 or both, got"):
        ep.resnet(8, 4, learned_shortcuts=[1])


def renamed(made, **names):
    """Return the same arrays with other names."""
    for old, new in names.items():
        made = {name.replace(old, new): values for name, values in made.items()}
    return made


def test_other_names_of_the_same_arrays_are_understood(images):
    made = arrays(8, 4, learned=True)
    expected = ep.load_resnet(made).predict(images)
    counted = made | {"bn1.num_batches_tracked": np.array(7)}
    for others in (
        {f"module.{name}": values for name, values in counted.items()},
        renamed(made, linear="fc", shortcut="downsample"),
        {"state_dict": made, "epoch": 3},
    ):
        assert np.array_equal(ep.load_resnet(others).predict(images), expected)


@pytest.mark.parametrize(
    "more",
    ["anything.else", "layer4.0.conv1.weight", "layer1.0.shortcut.0.weight", "bn1.gain"],
)
def test_arrays_that_do_not_belong_are_refused_by_name(more):
    with pytest.raises(ValueError, match=f"got {more}, which have no place in it"):
        ep.load_resnet(arrays(8, 4) | {more: np.ones(7)})
    others = {f"module.{name}": values for name, values in arrays(8, 4).items()}
    with pytest.raises(ValueError, match=f"got {more}, which have no place in it"):
        ep.load_resnet(others | {more: np.ones(7)})


def test_files_of_other_kinds_are_read_or_refused(tmp_path, images):
    from safetensors.numpy import save_file

    made = arrays(8, 4)
    expected = ep.load_resnet(made).predict(images)
    np.savez(tmp_path / "a.npz", **made)
    save_file(made, tmp_path / "a.safetensors")
    for name in ("a.npz", "a.safetensors"):
        assert np.array_equal(ep.load_resnet(tmp_path / name).predict(images), expected)
    np.save(tmp_path / "one.npy", np.ones(3))
    with pytest.raises(ValueError, match=r"one\.npy: expected an \.npz .* numpy\.savez"):
        ep.load_resnet(tmp_path / "one.npy")
    (tmp_path / "net.pth").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"net\.pth: expected an \.npz .* torch\.load"):
        ep.load_resnet(tmp_path / "net.pth")
    (tmp_path / "net.npz").write_bytes(b"PK and nothing more")
    with pytest.raises(ValueError, match=r"net\.npz: expected an \.npz"):
        ep.load_resnet(tmp_path / "net.npz")


@pytest.mark.parametrize(
    ("name", "shape", "text"),
    [
        ("conv1.weight", (5000,), r"expected \(5000, 3, 3, 3\) in conv1\.weight"),
        ("conv1.weight", (5000, 3, 3, 3), r"expected \(5000, 5000, 3, 3\) in layer1\.0\.conv1"),
        ("linear.weight", (10**6,), r"expected \(1000000, 16\) in linear\.weight"),
        ("linear.weight", (), r"expected an array in linear\.weight"),
        ("layer3.0.conv2.weight", (16, 16), r"expected \(16, 16, 3, 3\) in layer3\.0\.conv2"),
    ],
)
def test_a_small_file_is_not_taken_for_a_large_network(monkeypatch, name, shape, text):
    """A width of 5000 needs 16 GB of weights: the arrays are refused before a network is made."""
    monkeypatch.setattr(published, "resnet", None)
    with pytest.raises(ValueError, match=text):
        ep.load_resnet(arrays(8, 4) | {name: np.zeros(shape, np.float32)})


def test_what_is_no_resnet_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected the arrays of a ResNet"):
        ep.load_resnet({"linear.weight": np.zeros((10, 64))})
    made = arrays(8, 4)
    del made["layer2.0.bn1.running_var"]
    with pytest.raises(ValueError, match=r"no array 'layer2\.0\.bn1\.running_var'"):
        ep.load_resnet(made)
    made = arrays(8, 4)
    made["layer3.0.conv2.weight"] = made["layer3.0.conv2.weight"][:, :3]
    with pytest.raises(ValueError, match=r"expected \(16, 16, 3, 3\) in layer3\.0\.conv2\.weight"):
        ep.load_resnet(made)
    with pytest.raises(FileNotFoundError):
        ep.load_resnet(tmp_path / "none.npz")
