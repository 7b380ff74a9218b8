"""Models of torchvision, timm and transformers: populations are found, verified and removed.

The tests need these libraries (`pip install torchvision timm transformers`). Models are built with
random weights; nothing is downloaded.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch_models  # noqa: E402
from torch import nn  # noqa: E402

import evoprune as ep  # noqa: E402
import evoprune.torch as ept  # noqa: E402
from evoprune.bridges.torch.trace import drop_caches, evaluating, outputs, run  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.zoo, pytest.mark.filterwarnings("ignore")]

# Name in the library -> least number of layers of populations that must be found.
TORCHVISION = {
    "resnet18": 12, "resnet50": 37, "vgg11": 10, "alexnet": 7, "densenet121": 120,
    "squeezenet1_0": 25, "mobilenet_v2": 25, "mobilenet_v3_small": 27, "efficientnet_b0": 40,
    "regnet_y_400mf": 37, "resnext50_32x4d": 21, "shufflenet_v2_x1_0": 18, "googlenet": 57,
    "inception_v3": 94, "convnext_tiny": 18, "mnasnet0_5": 25, "vit_b_32": 24, "swin_t": 12,
}  # fmt: skip
TIMM = {
    "hrnet_w18_small": 45, "ghostnet_100": 31, "mobilevit_s": 41, "botnet26t_256": 23,
    "repvgg_a0": 5, "mixer_s32_224": 16, "deit_tiny_patch16_224": 24, "levit_128s": 17,
    "vit_tiny_patch16_224": 24, "skresnet18": 20, "dla34": 25, "convmixer_768_32": 33,
    "tf_efficientnetv2_b0": 20, "cspresnet50": 10, "fbnetc_100": 10, "selecsls42b": 10,
    "rexnet_100": 10, "poolformer_s12": 10, "edgenext_xx_small": 5, "visformer_tiny": 5,
    "pit_ti_224": 10, "cait_xxs24_224": 10, "xcit_nano_12_p16_224": 5, "resmlp_12_224": 10,
}  # fmt: skip


# Masses have a ceiling of 1: if they grew in dozens of layers at once, outputs would overflow.
LIFE = ep.Malthusian(lifespan=2, ceiling=1)
HALF_DIE = 4  # steps until half of the populations have died
RATE = 1e-4


@ep.fitness
def half(signals):
    """Return a fitness of 0 for every second population of a layer."""
    return (np.arange(len(signals["mass"])) % 2).astype(float)


SELECTION = ep.Selection(1.5, dynamics=LIFE, min_age=1, removal="never", fitness=half)


def removed_without_a_change(model, example, least):
    """Select for some steps, remove extinct populations, compare outputs in float64."""
    found = ept.inspect(model, example)
    assert len(found.born) >= least, found
    model = model.double()
    example = _double(example)
    optimizer = torch.optim.SGD(model.parameters(), 1e-4)
    evolution = ept.Evolution(model, optimizer, example, SELECTION)
    steps(model, optimizer, example, HALF_DIE)
    assert sum(evolution.alive.values()) < sum(evolution.born.values())
    with torch.no_grad(), evaluating(model):
        before = torch.cat([t.reshape(-1) for t in _real(run(model, example))])
        evolution.compact()
        after = torch.cat([t.reshape(-1) for t in _real(run(model, example))])
    assert evolution.parameters == sum(p.numel() for p in model.parameters())
    assert before.isfinite().all()
    assert float((after - before).abs().max()) <= 1e-5 * float(before.abs().max())


def steps(model, optimizer, example, count):
    losses = []
    for _ in range(count):
        drop_caches(model)  # such as attention biases that are cached in evaluation
        optimizer.zero_grad()
        loss = sum(t.square().mean() for t in _real(run(model, example)))
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def _double(example):
    if isinstance(example, dict):
        return {key: _double(value) for key, value in example.items()}
    return example.double() if example.is_floating_point() else example


def _real(result):
    return [t for t in outputs(result) if t.is_floating_point()]


@pytest.fixture(autouse=True)
def _steady():
    with torch_models.steady():
        yield


def torchvision_model(name):
    models = pytest.importorskip("torchvision.models")
    settings = {"image_size": 64} if name == "vit_b_32" else {}
    size = 299 if name == "inception_v3" else 64  # required by its auxiliary head
    return getattr(models, name)(**settings), torch.randn(2, 3, size, size)


def timm_model(name):
    timm = pytest.importorskip("timm")
    try:
        model = timm.create_model(name, pretrained=False, img_size=64)
    except TypeError:  # the model has no image size
        model = timm.create_model(name, pretrained=False)
    return model, torch.randn(2, 3, 64, 64)


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision(name):
    removed_without_a_change(*torchvision_model(name), TORCHVISION[name])


@pytest.mark.parametrize("name", TIMM)
def test_timm(name):
    removed_without_a_change(*timm_model(name), TIMM[name])


def test_a_model_in_which_norms_take_all_features_together_is_refused_with_the_reasons():
    model, example = timm_model("gmlp_s16_224")
    found = ept.inspect(model, example)
    assert not found.born
    reason = "native_layer_norm in blocks.0.mlp_channels.gate.norm (LayerNorm): the norm takes"
    assert found.why["blocks.0.mlp_channels.fc1.weight[0] (768)"].startswith(reason)


SMALL = {"vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}


def _bert(t):
    config = t.BertConfig(**SMALL, intermediate_size=64, max_position_embeddings=32)
    return t.BertForSequenceClassification(config), 4


def _distilbert(t):
    config = t.DistilBertConfig(vocab_size=100, n_layers=2, n_heads=4, dim=32, hidden_dim=64)
    return t.DistilBertForSequenceClassification(config), 4


def _gpt2(t):
    return t.GPT2LMHeadModel(t.GPT2Config(vocab_size=100, n_embd=32, n_layer=2, n_head=4)), 2


def _llama(t):
    config = t.LlamaConfig(**SMALL, intermediate_size=64, num_key_value_heads=2)
    return t.LlamaForCausalLM(config), 4


def _t5(t):
    config = t.T5Config(
        vocab_size=100, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4,
        decoder_start_token_id=0,
    )  # fmt: skip
    return t.T5ForConditionalGeneration(config), 4


def _vit(t):
    shape = {key: value for key, value in SMALL.items() if key != "vocab_size"}
    config = t.ViTConfig(**shape, intermediate_size=64, image_size=32, patch_size=8)
    return t.ViTForImageClassification(config), 4


TRANSFORMERS = {
    "bert": _bert,
    "distilbert": _distilbert,
    "gpt2": _gpt2,
    "llama": _llama,
    "t5": _t5,
    "vit": _vit,
}


def transformers_model(name):
    model, least = TRANSFORMERS[name](pytest.importorskip("transformers"))
    example = {"input_ids": torch.randint(0, 100, (2, 9))}
    if name == "vit":
        example = {"pixel_values": torch.randn(2, 3, 32, 32)}
    if name == "t5":
        example["decoder_input_ids"] = torch.randint(0, 100, (2, 5))
    return model, example, least


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers(name):
    removed_without_a_change(*transformers_model(name))


CHAOTIC = {"convmixer_768_32"}  # rounding errors grow a thousandfold within a few steps
GO_ON = [
    *[(torchvision_model, name) for name in TORCHVISION],
    *[(timm_model, name) for name in TIMM if name not in CHAOTIC],
    *[(transformers_model, name) for name in TRANSFORMERS],
]


@pytest.mark.parametrize(("make", "name"), GO_ON, ids=[name for _, name in GO_ON])
def test_survivors_next_steps_are_those_of_a_masked_run(make, name):
    """Runs that remove extinct populations or set them to 0 remain equal for ten steps."""
    first, example, *_ = make(name)
    if name in {"levit_128s", "rexnet_100", "selecsls42b"}:
        # Batch norms in these models get one value per sample and channel: use more samples.
        example = torch.randn(8, 3, 64, 64)
    # In eval mode there is no dropout, whose random draws depend on the sizes of arrays.
    first, example = first.double().eval(), _double(example)
    for module in first.modules():
        module.train(isinstance(module, nn.modules.batchnorm._NormBase))
    for p in first.parameters():
        if not p.detach().any():  # initial zeros would hide errors
            nn.init.normal_(p, std=0.05)
    second = copy.deepcopy(first)
    losses = []
    for model, removal in ((first, "always"), (second, "never")):
        optimizer = torch.optim.AdamW(model.parameters(), RATE)
        evolution = ept.Evolution(model, optimizer, example, SELECTION.replace(removal=removal))
        losses.append(steps(model, optimizer, example, HALF_DIE + 10))
        assert (evolution.compactions > 0) == (removal == "always")
        assert sum(evolution.alive.values()) < sum(evolution.born.values())
    evolution.compact()
    assert np.isfinite(losses).all()
    # Norms over two samples enlarge rounding errors.
    np.testing.assert_allclose(*losses, rtol=1e-6)
    for (name, mine), masked in zip(first.named_parameters(), second.parameters(), strict=True):
        size = 1e-6 * float(masked.abs().max()) + 0.05 * RATE  # 0.05 of a step of AdamW
        assert float((mine - masked).abs().max()) <= size, name
