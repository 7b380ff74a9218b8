"""Callbacks: selection in the loops of Lightning and of Hugging Face's Trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import distributed

from evoprune.bridges.extras import require
from evoprune.bridges.torch.errors import Unsupported
from evoprune.bridges.torch.evolution import Evolution

if TYPE_CHECKING:
    from evoprune import Selection

__all__ = ["lightning_callback", "transformers_callback"]


def lightning_callback(example: Any, selection: Selection | None = None, **settings: Any) -> Any:
    """Return a callback for `lightning.Trainer(callbacks=[...])`.

    Selection begins and ends with the training. Logged metrics become columns of the history at
    every epoch. `callback.evolution` is the `Evolution`.

    Args:
        example: inputs of the LightningModule's forward.
        selection: the settings of selection; `Selection()` if not given.
        **settings: further arguments of `Evolution`.
    """
    lightning = require("lightning", "torch", "lightning_callback")

    class Selecting(lightning.Callback):  # type: ignore[name-defined]
        evolution: Evolution | None = None

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            model = trainer.strategy.model
            self.evolution = Evolution(model, trainer.optimizers, example, selection, **settings)

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
            if self.evolution is not None:
                self.evolution.log(**metrics)

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            if self.evolution is not None:
                self.evolution.close()

    return Selecting()


def transformers_callback(example: Any, selection: Selection | None = None, **settings: Any) -> Any:
    """Return a callback for `transformers.Trainer(callbacks=[...])`.

    Selection begins and ends with the training. Every log event appends the mean loss to history.
    `callback.evolution` is the `Evolution`. Save the model with `callback.evolution.save`:
    `save_pretrained` writes a configuration of founding sizes, which the smaller arrays do not fit.

    Args:
        example: inputs of the model's forward, such as a dict of tokens.
        selection: the settings of selection; `Selection()` if not given.
        **settings: further arguments of `Evolution`.
    """
    transformers = require("transformers", "torch", "transformers_callback")

    class Selecting(transformers.TrainerCallback):  # type: ignore[name-defined]
        evolution: Evolution | None = None

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if distributed.is_available() and distributed.is_initialized():
                raise Unsupported(
                    "transformers_callback: expected one process, got several; the Trainer does "
                    "not give its callbacks the DistributedDataParallel that must follow"
                )
            self.evolution = Evolution(
                kwargs["model"], kwargs["optimizer"], example, selection, **settings
            )

        def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            logs = kwargs.get("logs") or {}
            if self.evolution is not None and "loss" in logs:
                self.evolution.log(loss=float(logs["loss"]))

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if self.evolution is not None:
                self.evolution.close()

    return Selecting()
