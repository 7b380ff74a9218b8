"""The bridge to PyTorch in the loops of Lightning and of Hugging Face's Trainer."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import torch_models  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import evoprune as ep  # noqa: E402
import evoprune.torch as ept  # noqa: E402

QUICK = ep.Selection(1.5, dynamics=ep.Malthusian(lifespan=15), min_age=5)


def rows(n=256):
    random = torch.Generator().manual_seed(0)
    x = torch.randn(n, 20, generator=random)
    return x, (x @ torch.randn(20, 4, generator=random)).argmax(1)


@pytest.mark.filterwarnings("ignore")  # Lightning warns about workers and loggers
def test_lightning_trains_and_selects(tmp_path):
    lightning = pytest.importorskip("lightning")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = torch_models.mlp()

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, _):
            loss = F.cross_entropy(self(batch[0]), batch[1])
            self.log("loss", loss, on_step=False, on_epoch=True)
            return loss

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), 3e-3)

    torch.manual_seed(0)
    callback = ept.lightning_callback(torch.randn(2, 20), QUICK)
    trainer = lightning.Trainer(
        max_epochs=5, accelerator="cpu", callbacks=[callback], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=tmp_path,
    )  # fmt: skip
    module = Module()
    data = torch.utils.data.TensorDataset(*rows())
    trainer.fit(module, torch.utils.data.DataLoader(data, 16))
    evolution = callback.evolution
    assert evolution.steps == 80
    assert evolution.compactions
    assert module.net[0].out_features == evolution.alive["net.0"] < 32
    assert evolution.history["loss"].size == 5
    assert evolution.history["loss"][-1] < evolution.history["loss"][0]


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = torch_models.mlp()

    def forward(self, x, labels=None):
        logits = self.net(x)
        return {
            "loss": None if labels is None else F.cross_entropy(logits, labels),
            "logits": logits,
        }


@pytest.mark.filterwarnings("ignore")
def test_the_trainer_of_transformers_trains_and_selects(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    x, y = rows()
    torch.manual_seed(0)
    callback = ept.transformers_callback({"x": torch.randn(2, 20)}, QUICK)
    arguments = transformers.TrainingArguments(
        tmp_path, num_train_epochs=5, per_device_train_batch_size=16, learning_rate=3e-3,
        logging_steps=16, report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=True,
    )  # fmt: skip
    model = Classifier()
    data = [{"x": a, "labels": b} for a, b in zip(x, y, strict=True)]
    trainer = transformers.Trainer(model, arguments, train_dataset=data, callbacks=[callback])
    trainer.train()
    evolution = callback.evolution
    assert evolution.steps == 80
    assert evolution.compactions
    assert model.net[0].out_features == evolution.alive["net.0"] < 32
    assert evolution.history["loss"].size == 5


def test_a_library_that_is_missing_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "lightning", None)
    with pytest.raises(ImportError, match="lightning"):
        ept.lightning_callback(torch.randn(2, 20))
