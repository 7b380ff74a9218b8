"""Networks that others trained: published ResNets give the logits they should, and still learn."""

from __future__ import annotations

import numpy as np
import pytest
from reference import resnet

import evoprune as ep


def arrays(depth, width=16, seed=0):
    """Arrays of a ResNet nobody trained, by the published names."""
    random, blocks = np.random.default_rng(seed), (depth - 2) // 6
    made = {}

    def convolution(name, norm, out, into):
        made[f"{name}.weight"] = random.normal(0, (9 * into) ** -0.5, (out, into, 3, 3))
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


def test_what_is_loaded_learns_under_selection(images):
    net = ep.load_resnet(arrays(8, 4))
    selection = ep.Selection(1.0, dynamics=ep.Malthusian(lifespan=20), min_age=5)
    trainer = ep.Trainer(net, selection=selection, optimizer=ep.AdamW(1e-4))
    trainer.fit(
        (np.repeat(images, 20, 0), np.arange(60) % 10), epochs=15, batch_size=20, progress=False
    )
    assert 0 < sum(net.alive.values()) < sum(net.born.values())
    agree(net.folded().predict(images), net.predict(images))


def test_what_is_no_resnet_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected the arrays of a ResNet"):
        ep.load_resnet({"linear.weight": np.zeros((10, 64))})
    made = arrays(8, 4)
    del made["layer2.0.bn1.running_var"]
    with pytest.raises(ValueError, match=r"no array 'layer2\.0\.bn1\.running_var'"):
        ep.load_resnet(made)
    made = arrays(8, 4)
    made["layer3.0.conv2.weight"] = made["layer3.0.conv2.weight"][:, :3]
    with pytest.raises(ValueError, match=r"expected \(3, 3, 16, 16\) in layer3\.0\.conv2\.weight"):
        ep.load_resnet(made)
    with pytest.raises(FileNotFoundError):
        ep.load_resnet(tmp_path / "none.npz")
