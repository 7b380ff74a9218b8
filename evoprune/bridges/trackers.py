"""Experiment trackers as callbacks: TensorBoard, MLflow, Weights & Biases.

Each callback logs the settings of a run once. After every epoch it logs the new row of the history,
one value per column, with the step number; NaN values are omitted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from os import PathLike, fspath
from typing import Any

import evoprune as ep
from evoprune.bridges.extras import require
from evoprune.common.checks import instance

__all__ = ["MLflow", "TensorBoard", "WandB"]

Row = Mapping[str, float]


class TensorBoard(ep.Callback):
    """Write the columns of the history, and histograms of masses, for TensorBoard.

    A chart shows training and validation together ("loss/training", "loss/validation"), and the
    living populations of all layers ("alive/populations1").

    Args:
        folder: where event files go; one folder per run.
        masses: write a histogram of the masses of every layer.
    """

    def __init__(self, folder: str | PathLike[str], *, masses: bool = True) -> None:
        self._library = require("tensorboardX", "tensorboard", "TensorBoard")
        self.folder, self.masses = fspath(folder), masses
        self._writer: Any = None

    def on_fit_begin(self, trainer: ep.Trainer) -> None:
        """Open a file and write the settings as a text."""
        self._writer = self._library.SummaryWriter(self.folder)
        rows = "\n".join(f"| {name} | `{value}` |" for name, value in _settings(trainer).items())
        self._writer.add_text("settings", f"| setting | value |\n|---|---|\n{rows}", 0)

    def on_epoch_end(self, trainer: ep.Trainer, row: Row) -> None:
        """Write the epoch's row of the history and, if `masses` is set, histograms of masses."""
        step = int(row["step"])
        for name, value in _known(row).items():
            self._writer.add_scalar(_chart(name), value, step)
        if self.masses:
            for layer in trainer.network.alive:
                mass = trainer.network[f"{layer}.mass"]
                self._writer.add_histogram(f"mass/{layer}", mass[mass > 0], step)
        self._writer.flush()

    def on_fit_end(self, trainer: ep.Trainer, history: ep.History) -> None:
        """Close the file."""
        self._writer.close()

    def on_fit_error(self, trainer: ep.Trainer, error: BaseException) -> None:
        """Write the error as a text, and close the file."""
        if self._writer is not None:
            self._writer.add_text("error", f"`{error!r}`", int(trainer.network.step))
            self._writer.close()


class MLflow(ep.Callback):
    """Log a run to MLflow: settings as parameters, the columns of the history as metrics.

    Args:
        experiment: the name of the experiment; created if it does not exist.
        run_name: the name of the run.
        tracking_uri: a server or a folder ("file:./mlruns"); None: as MLflow is configured.
        run_id: an existing run to continue.
        tags: further tags.

    Attributes:
        run_id: id of the MLflow run; None before training, unless it was given.
    """

    def __init__(
        self,
        experiment: str = "evoprune",
        *,
        run_name: str | None = None,
        tracking_uri: str | None = None,
        run_id: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self._library = require("mlflow", "mlflow", "MLflow")
        self.experiment, self.run_name, self.run_id = experiment, run_name, run_id
        self.tags = dict(tags or {})
        self._client = self._library.MlflowClient(tracking_uri)

    def on_fit_begin(self, trainer: ep.Trainer) -> None:
        """Begin a run, or continue the existing one."""
        if self.run_id is not None:
            self._client.update_run(self.run_id, status="RUNNING")
            return
        there = self._client.get_experiment_by_name(self.experiment)
        number = there.experiment_id if there else self._client.create_experiment(self.experiment)
        run = self._client.create_run(number, run_name=self.run_name, tags=self.tags)
        self.run_id = run.info.run_id
        for name, value in _settings(trainer).items():
            self._client.log_param(self.run_id, name, value)

    def on_epoch_end(self, trainer: ep.Trainer, row: Row) -> None:
        """Log the epoch's row of the history."""
        now, step = int(1000 * time.time()), int(row["step"])
        metric = self._library.entities.Metric
        metrics = [metric(name, value, now, step) for name, value in _known(row).items()]
        self._client.log_batch(self.run_id, metrics=metrics)

    def on_fit_end(self, trainer: ep.Trainer, history: ep.History) -> None:
        """End the run: finished, or killed if it was interrupted."""
        self._client.set_terminated(self.run_id, "KILLED" if history.interrupted else "FINISHED")

    def on_fit_error(self, trainer: ep.Trainer, error: BaseException) -> None:
        """End the run: failed, or killed by a second Ctrl-C; a tag holds the error."""
        if self.run_id is not None:
            self._client.set_tag(self.run_id, "error", repr(error)[:500])
            killed = isinstance(error, KeyboardInterrupt)
            self._client.set_terminated(self.run_id, "KILLED" if killed else "FAILED")

    def state(self) -> dict[str, Any]:
        """Return the id of the MLflow run."""
        return {"run_id": self.run_id}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue the MLflow run stored in a state; if that is empty, keep `run_id`."""
        instance("state", state, Mapping)
        self.run_id = state.get("run_id", self.run_id)


class WandB(ep.Callback):
    """Log a run to Weights & Biases: settings as its config, the columns of the history as metrics.

    Args:
        project: the name of the project.
        settings: further arguments of `wandb.init`: mode="offline", name, dir, id, tags.

    Attributes:
        run: the run of wandb; None before training.
    """

    def __init__(self, project: str = "evoprune", **settings: Any) -> None:
        self._library = require("wandb", "wandb", "WandB")
        self.project, self.settings = project, settings
        self.run: Any = None

    def on_fit_begin(self, trainer: ep.Trainer) -> None:
        """Begin a run."""
        config = {**_settings(trainer), **self.settings.get("config", {})}
        self.run = self._library.init(
            **{"project": self.project, "resume": "allow", **self.settings, "config": config}
        )

    def on_epoch_end(self, trainer: ep.Trainer, row: Row) -> None:
        """Log the epoch's row of the history."""
        self.run.log(_known(row), step=int(row["step"]))

    def on_fit_end(self, trainer: ep.Trainer, history: ep.History) -> None:
        """End the run."""
        self.run.finish()
        self.settings = {**self.settings, "id": self.run.id}  # resume() continues this wandb run

    def on_fit_error(self, trainer: ep.Trainer, error: BaseException) -> None:
        """End the run as failed; its summary holds the error."""
        if self.run is not None:
            self.run.summary["error"] = repr(error)
            self.run.finish(exit_code=1)

    def state(self) -> dict[str, Any]:
        """Return the id of the run."""
        return {"id": None if self.run is None else self.run.id}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue the run stored in a state; if that is empty, keep the `id` of the settings."""
        instance("state", state, Mapping)
        if state.get("id"):
            self.settings = {**self.settings, "id": state["id"]}


def _known(row: Row) -> dict[str, float]:
    return {name: float(value) for name, value in row.items() if not math.isnan(value)}


def _chart(column: str) -> str:
    """Return the TensorBoard tag of a history column: the names of its chart and of its curve.

    "validation_loss" gives "loss/validation", and "alive.populations1" gives "alive/populations1".
    """
    if column.startswith("validation_"):
        return f"{column.removeprefix('validation_')}/validation"
    if column.startswith("training_"):
        return f"{column.removeprefix('training_')}/training"
    if column in ("loss", "accuracy"):
        return f"{column}/training"
    return column.replace(".", "/") if "." in column else f"run/{column}"


def _settings(trainer: ep.Trainer) -> dict[str, Any]:
    """Return the settings of a run as short plain values."""
    history, network = trainer.history, trainer.network
    run = {} if history is None else history.settings.get("run", {})
    return {
        "loss": repr(trainer.loss),
        "optimizer": repr(trainer.optimizer),
        "selection": repr(trainer.selection),
        "epochs": run.get("epochs"),
        "batch": run.get("batch"),
        "seed": network.spec["seed"],
        "layers": len(network.spec["layers"]),
        "founding_populations": sum(network.born.values()),
        "founding_parameters": network.founding_parameters,
        "founding_macs": network.founding_macs,
    }
