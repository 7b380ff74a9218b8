"""Trackers and other observers: their files hold the values of the history."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import scripts

import evoprune as ep


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(96, 5)).astype(np.float32)
    return x, (x[:, 0] > 0).astype(np.int64)


def trainer_of(seed=0):
    selection = ep.Selection(pressure=2.0, dynamics=ep.Malthusian(lifespan=8), min_age=2)
    return ep.Trainer(ep.mlp(5, 12, 2, seed=seed), selection=selection)


def run(data, callback, epochs=6, **more):
    trainer = trainer_of()
    trainer.fit(
        data,
        epochs=epochs,
        batch_size=16,
        validation_data=data,
        callbacks=callback,
        progress=False,
        **more,
    )
    return trainer


# ---- CSV -----------------------------------------------------------------------------------------


def test_a_csv_file_holds_the_columns_of_the_history(tmp_path, data):
    trainer = run(data, ep.CSVLogger(tmp_path / "run.csv"))
    with (tmp_path / "run.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) == set(trainer.history)
    for name in trainer.history:
        found = [float(row[name]) if row[name] else np.nan for row in rows]
        np.testing.assert_array_equal(found, trainer.history[name])


def test_a_csv_file_is_continued_by_resume_and_replaced_by_fit(tmp_path, data):
    logger = ep.CSVLogger(tmp_path / "run.csv")
    trainer = run(data, logger, until=2)
    trainer.resume(
        data, validation_data=data, callbacks=[ep.CSVLogger(logger.path)], progress=False
    )
    lines = logger.path.read_text().splitlines()
    assert len(lines) == 1 + 6
    assert [float(line.split(",")[0]) for line in lines[1:]] == [1, 2, 3, 4, 5, 6]
    run(data, logger, epochs=3)
    assert len(logger.path.read_text().splitlines()) == 1 + 3


def test_a_csv_file_with_other_columns_is_not_changed(tmp_path, data):
    logger = ep.CSVLogger(tmp_path / "run.csv")
    trainer = run(data, logger, until=2)
    before = logger.path.read_text()
    with pytest.raises(ValueError, match="differ in validation_accuracy, validation_loss"):
        trainer.resume(data, callbacks=[logger], progress=False)
    assert logger.path.read_text() == before


def test_nan_is_an_empty_cell(tmp_path, data):
    x, _ = data
    trainer = ep.Trainer(ep.mlp(5, 4, 1), loss="mean_squared_error", selection=None)
    logger = ep.CSVLogger(tmp_path / "run.csv")
    trainer.fit((x, x[:, :1]), epochs=1, batch_size=16, callbacks=[logger], progress=False)
    (row,) = csv.DictReader(logger.path.read_text().splitlines())
    assert row.get("accuracy", "") == ""
    assert float(row["loss"]) == trainer.history["loss"][0]


# ---- callbacks made of functions -----------------------------------------------------------------


def test_functions_are_called_with_what_a_callback_gets(data):
    seen = []
    callback = ep.LambdaCallback(
        on_fit_begin=lambda trainer: seen.append(("begin", trainer)),
        on_epoch_end=lambda trainer, row: seen.append(("epoch", row["epoch"])),
        on_extinction=lambda trainer, deaths: seen.append(("deaths", len(deaths))),
        on_fit_end=lambda trainer, history: seen.append(("end", history)),
    )
    trainer = run(data, callback)
    assert seen[0] == ("begin", trainer)
    assert seen[-1] == ("end", trainer.history)
    assert [v for k, v in seen if k == "epoch"] == [1, 2, 3, 4, 5, 6]
    deaths = sum(v for k, v in seen if k == "deaths")
    assert deaths == len(trainer.history.extinctions) > 0


def test_a_lambda_callback_takes_functions_only():
    with pytest.raises(TypeError, match="on_epoch_end: expected a function, got 3"):
        ep.LambdaCallback(on_epoch_end=3)
    with pytest.raises(TypeError, match="on_batch"):
        ep.LambdaCallback(on_batch=print)


# ---- trackers ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_reads_the_columns(tmp_path, data):
    pytest.importorskip("tensorboardX")
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    trainer = run(data, ep.TensorBoard(tmp_path / "events"), metrics=["f1"], training_metrics=True)
    events = reader.EventAccumulator(str(tmp_path / "events"), {"histograms": 0}).Reload()
    history = trainer.history
    for column, chart in (
        ("loss", "loss/training"),
        ("validation_loss", "loss/validation"),
        ("validation_accuracy", "accuracy/validation"),
        ("training_f1", "f1/training"),
        ("validation_f1", "f1/validation"),
        ("alive.populations1", "alive/populations1"),
        ("alive", "run/alive"),
    ):
        scalars = events.Scalars(chart)
        assert [s.step for s in scalars] == history["step"].tolist()
        np.testing.assert_allclose([s.value for s in scalars], history[column], rtol=1e-6)
    masses = events.Histograms("mass/populations1")
    assert [h.histogram_value.num for h in masses] == history["alive"].tolist()
    assert "settings/text_summary" in events.Tags()["tensors"]


@pytest.mark.filterwarnings("ignore")
def test_mlflow_has_parameters_and_metrics(tmp_path, data, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "runs").as_uri()
    tracker = ep.MLflow("masses", run_name="first", tracking_uri=uri, tags={"a": "b"})
    trainer = run(data, tracker, until=2)
    client = mlflow.MlflowClient(uri)
    found = client.get_run(tracker.run_id)
    assert found.info.status == "FINISHED"
    assert found.data.tags["a"] == "b"
    assert found.data.params["selection"] == repr(trainer.selection)
    assert found.data.params["epochs"] == "6"
    again = ep.MLflow("masses", tracking_uri=uri, run_id=tracker.run_id)
    history = trainer.resume(data, validation_data=data, callbacks=[again], progress=False)
    for column in ("loss", "validation_accuracy", "alive.populations1"):
        metrics = client.get_metric_history(tracker.run_id, column)
        assert [m.step for m in metrics] == history["step"].tolist()
        np.testing.assert_allclose([m.value for m in metrics], history[column], rtol=1e-12)


class Fails(ep.Callback):
    def on_epoch_end(self, trainer, row):
        if row["epoch"] == 2:
            raise OSError("the disk is full")


@pytest.mark.filterwarnings("ignore")
def test_a_run_of_mlflow_that_ends_by_an_exception_has_failed(tmp_path, data, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "runs").as_uri()
    tracker = ep.MLflow("masses", tracking_uri=uri)
    with pytest.raises(OSError, match="the disk is full"):
        run(data, [tracker, Fails()])
    found = mlflow.MlflowClient(uri).get_run(tracker.run_id)
    assert found.info.status == "FAILED"
    assert "the disk is full" in found.data.tags["error"]


def test_tensorboard_keeps_what_was_written_before_an_exception(tmp_path, data):
    pytest.importorskip("tensorboardX")
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with pytest.raises(OSError, match="the disk is full"):
        run(data, [ep.TensorBoard(tmp_path), Fails()])
    events = reader.EventAccumulator(str(tmp_path)).Reload()
    assert len(events.Scalars("loss/training")) == 2
    assert "error/text_summary" in events.Tags()["tensors"]


def test_on_fit_error_is_called_instead_of_on_fit_end(data):
    heard = []
    listener = ep.LambdaCallback(
        on_fit_end=lambda trainer, history: heard.append("end"),
        on_fit_error=lambda trainer, error: heard.append(error),
    )
    broken = ep.LambdaCallback(on_fit_error=lambda trainer, error: 1 / 0)
    with pytest.raises(OSError, match="the disk is full") as caught:
        run(data, [broken, listener, Fails()])
    assert heard == [caught.value]
    assert "ZeroDivisionError" in caught.value.__notes__[0]


@pytest.mark.slow
def test_wandb_writes_a_run_offline(tmp_path):
    pytest.importorskip("wandb")
    code = """
        import sys, json, warnings
        import numpy as np
        import evoprune as ep
        warnings.simplefilter("ignore")
        x = np.random.default_rng(0).normal(size=(64, 5)).astype("float32")
        trainer = ep.Trainer(ep.mlp(5, 6, 2), selection=None)
        tracker = ep.WandB("tests", mode="offline", dir=sys.argv[1])
        history = trainer.fit(
            (x, (x[:, 0] > 0).astype(int)), epochs=3, batch_size=16, callbacks=[tracker],
            progress=False,
        )
        print(json.dumps([history["loss"].tolist(), tracker.run.config["epochs"]]))
    """
    said = scripts.run(code, str(tmp_path), WANDB_SILENT="true").strip().splitlines()[-1]
    losses, epochs = json.loads(said)
    assert epochs == 3
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    content = file.read_bytes()
    assert all(repr(loss).encode() in content for loss in losses)


READ_WANDB = """
    import sys, warnings
    from pathlib import Path
    warnings.simplefilter("ignore")
    from wandb.proto import wandb_internal_pb2

    def records(content):
        # A log of LevelDB: 7 bytes, then blocks of 32 KiB of chunks, each with a checksum (4), a
        # length (2), a type (1; 1 whole, 2 first, 3 middle, 4 last) and its bytes.
        at, whole = 7, b""
        while at + 7 <= len(content):
            if at % 32768 > 32768 - 7:
                at += -at % 32768
                continue
            length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
            whole += content[at + 7 : at + 7 + length]
            at += 7 + length
            if kind in (1, 4):
                record = wandb_internal_pb2.Record()
                record.ParseFromString(whole)
                whole = b""
                yield record

    for file in sorted(Path(sys.argv[1]).glob("wandb/offline-run-*/*.wandb")):
        for record in records(file.read_bytes()):
            kind = record.WhichOneof("record_type")
            if kind == "exit":
                print(file.stem, "exit", record.exit.exit_code)
            for item in record.summary.update if kind == "summary" else ():
                if item.key == "error":
                    print(file.stem, "error", item.value_json)
"""


@pytest.mark.slow
def test_a_run_of_wandb_that_ends_by_an_exception_has_failed(tmp_path):
    """The test reads the exit code from the file that `wandb sync` sends."""
    pytest.importorskip("wandb")
    code = """
        import sys, warnings
        import numpy as np
        import evoprune as ep
        warnings.simplefilter("ignore")

        class Fails(ep.Callback):
            def on_epoch_end(self, trainer, row):
                raise OSError("the disk is full")

        x = np.random.default_rng(0).normal(size=(64, 5)).astype("float32")
        y = (x[:, 0] > 0).astype(int)
        for name, callbacks in (("good", []), ("bad", [Fails()])):
            trainer = ep.Trainer(ep.mlp(5, 6, 2), selection=None)
            tracker = ep.WandB("tests", mode="offline", dir=sys.argv[1], id=name)
            try:
                trainer.fit(x, y, epochs=2, callbacks=[tracker, *callbacks], progress=False)
            except OSError as error:
                print("raised", error)
    """
    said = scripts.run(code, str(tmp_path), WANDB_SILENT="true")
    assert "raised the disk is full" in said
    lines = scripts.run(READ_WANDB, str(tmp_path)).splitlines()
    assert {"run-good exit 0", "run-bad exit 1"} <= set(lines)
    assert any(line.startswith("run-bad error") and "the disk is full" in line for line in lines)
    assert not any(line.startswith("run-good error") for line in lines)


@pytest.mark.parametrize(
    ("library", "name", "extra"),
    [
        ("tensorboardX", "TensorBoard('x')", "tensorboard"),
        ("mlflow", "MLflow()", "mlflow"),
        ("wandb", "WandB()", "wandb"),
        ("optuna", "OptunaPruning(None)", "optuna"),
        ("joblib", "sweep(print, [{}])", "sweep"),
    ],
)
def test_without_the_library_the_error_names_the_extra(library, name, extra):
    code = f"""
        import sys
        sys.modules[{library!r}] = None
        import evoprune as ep
        try:
            ep.{name}
        except ImportError as error:
            print(error)
    """
    assert f"pip install 'evoprune[{extra}]'" in scripts.run(code)
