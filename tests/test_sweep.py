"""Sweeps: equal rows on every engine, no repeated runs, files in TOML, and Optuna."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
import scripts

import evoprune as ep

pytest.importorskip("joblib")

import joblib

from evoprune.bridges.sweep import sweep_file

GRID = {"pressure": [0.5, 2.0], "widths": [(8,), (16,)]}


def make(*, seed, pressure, widths):
    """Return trainer and arguments of a run of 40 steps; the class is the sign of feature 0."""
    x = np.random.default_rng(0).normal(size=(128, 6)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64)
    selection = ep.Selection(
        pressure=pressure, dynamics=ep.Malthusian(lifespan=8), min_age=2, memory=0.5
    )
    trainer = ep.Trainer(ep.mlp(6, *widths, 2, seed=seed), selection=selection)
    return trainer, {"data": (x, y), "epochs": 10, "batch_size": 32, "validation_data": (x, y)}


def records(table):
    """Return the rows of a table as dicts, without their times."""
    rows = table.to_dict("records") if hasattr(table, "to_dict") else table
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


@pytest.fixture(scope="module")
def expected():
    """Return the results of the runs of GRID, made without a sweep."""
    rows = []
    for pressure in GRID["pressure"]:
        for widths in GRID["widths"]:
            for seed in range(2):
                trainer, arguments = make(seed=seed, pressure=pressure, widths=widths)
                trainer.fit(**arguments, progress=False)
                score = trainer.evaluate(arguments["data"])
                rows.append(
                    {
                        "pressure": pressure,
                        "widths": widths,
                        "seed": seed,
                        "validation_loss": score.loss,
                        "validation_accuracy": score.accuracy,
                        "alive": sum(trainer.network.alive.values()),
                        "steps": 40,
                        "error": None,
                    }
                )
    return rows


def assert_rows(table, expected):
    found = records(table)
    assert len(found) == len(expected)
    for row, right in zip(found, expected, strict=True):
        assert {k: row[k] for k in right} == right


def test_rows_are_those_of_runs_made_by_hand(expected):
    table = ep.sweep(make, GRID, seeds=2)
    assert_rows(table, expected)
    assert len({row["alive"] for row in expected}) > 1  # settings affect the results
    assert "seconds" in table


def test_a_list_of_settings_is_run_as_it_is(expected):
    table = ep.sweep(make, [{"pressure": 2.0, "widths": (8,)}], seeds=[1])
    assert_rows(table, [expected[5]])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("engine", ["loky", "threading", "multiprocessing"])
def test_processes_and_threads_give_the_same_rows(engine, expected):
    with joblib.parallel_config(engine, n_jobs=2):
        assert_rows(ep.sweep(make, GRID, seeds=2), expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_dask_gives_the_same_rows(expected):
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, processes=True
    )
    with cluster, distributed.Client(cluster), joblib.parallel_config("dask"):
        assert_rows(ep.sweep(make, GRID, seeds=2), expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_ray_gives_the_same_rows(expected, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    path = os.pathsep.join([str(scripts.ROOT), str(scripts.TESTS)])
    ray = pytest.importorskip("ray")
    register = pytest.importorskip("ray.util.joblib").register_ray
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": path}},
    )
    try:
        register()
        with joblib.parallel_config("ray", n_jobs=2):
            assert_rows(ep.sweep(make, GRID, seeds=2), expected)
    finally:
        ray.shutdown()


# ---- continuing a sweep ------------------------------------------------------------------------


def test_a_run_with_a_row_is_not_repeated(tmp_path, expected):
    made = []

    def counting(**settings):
        made.append(settings)
        if len(made) == 3:
            raise KeyboardInterrupt
        return make(**settings)

    with pytest.raises(KeyboardInterrupt):
        ep.sweep(counting, GRID, seeds=2, folder=tmp_path)
    assert len(list((tmp_path / "rows").glob("*.json"))) == 2
    first = ep.sweep(counting, GRID, seeds=2, folder=tmp_path)
    assert len(made) == 3 + len(expected) - 2
    again = ep.sweep(counting, GRID, seeds=2, folder=tmp_path)
    assert len(made) == 3 + len(expected) - 2
    assert_rows(first, expected)
    assert list(first["seconds"]) == list(again["seconds"])
    ep.sweep(counting, GRID, seeds=3, folder=tmp_path)
    assert len(made) == 3 + len(expected) - 2 + 4  # 4 settings with a third seed


def test_histories_are_written_with_the_rows(tmp_path):
    table = ep.sweep(make, {"pressure": [2.0], "widths": [(8,)]}, folder=tmp_path)
    (row,) = (tmp_path / "rows").glob("*.json")
    history = ep.History.load(tmp_path / "histories" / f"{row.stem}.npz")
    assert history["validation_loss"][-1] == table["validation_loss"][0]
    assert json.loads(row.read_text())["pressure"] == 2.0


def test_rows_of_another_make_are_used_with_a_warning(tmp_path):
    grid = {"pressure": [2.0], "widths": [(8,)]}
    ep.sweep(make, grid, folder=tmp_path)

    def other(**settings):
        return make(**settings)

    with pytest.warns(UserWarning, match="another version of make"):
        ep.sweep(other, grid, folder=tmp_path)


@pytest.mark.filterwarnings("ignore:y. targets have mean")
def test_a_run_that_diverges_has_a_row_with_the_error():
    def bad(*, seed, rate):
        trainer = ep.Trainer(
            ep.mlp(2, 4, 1, seed=seed),
            loss="mean_squared_error",
            optimizer=ep.SGD(rate),
            selection=None,
        )
        x = np.ones((8, 2), np.float32)
        return trainer, {"data": (x, np.full((8, 1), 1e15, np.float32))}

    (row,) = records(ep.sweep(bad, {"rate": [1e30]}))
    assert "not finite" in row["error"]
    assert row["steps"] == 1
    assert row["loss"] == pytest.approx(1e30)  # loss of the last completed step


def test_measure_gives_rows_further_columns(tmp_path):
    def measure(trainer, *, seed, pressure, widths):
        mass = trainer.network["populations1.mass"]
        return {"layers": list(trainer.network.alive.values()), "heaviest": mass.max(), "is": seed}

    for _ in range(2):  # the runs are made, then their rows are read from the folder
        table = ep.sweep(make, GRID, seeds=[3], measure=measure, folder=tmp_path)
        for row in records(table):
            trainer, arguments = make(seed=3, pressure=row["pressure"], widths=row["widths"])
            trainer.fit(**arguments, progress=False)
            assert row["layers"] == list(trainer.network.alive.values())
            assert row["heaviest"] == trainer.network["populations1.mass"].max()
            assert row["is"] == 3
    with pytest.raises(ValueError, match="measure: expected columns that the table lacks"):
        ep.sweep(make, GRID, measure=lambda trainer, **_: {"alive": 1})


def test_wrong_sweeps_are_refused_before_any_run():
    def never(**settings):
        raise AssertionError("called")

    for grid, seeds, text in (
        ({"pressure": 1.0}, 1, "expected a list of values for 'pressure'"),
        ({"pressure": []}, 1, "at least one combination"),
        ({"seed": [1]}, 1, "got seed"),
        ({"pressure": [1.0, 1.0]}, 1, "one of them twice"),
        ({"pressure": [object()]}, 1, "a repr of their own"),
        ({"pressure": [1.0]}, 0, "at least one seed"),
    ):
        with pytest.raises((ValueError, TypeError), match=text):
            ep.sweep(never, grid, seeds)
    with pytest.raises(TypeError, match="expected \\(trainer, arguments"):
        ep.sweep(lambda seed: None, [{}])


# ---- sweeps from files -------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::evoprune.NothingCanDie")
def test_a_file_describes_a_sweep(tmp_path):
    (tmp_path / "widths.toml").write_text(
        """
        seeds = [3]
        [fixed]
        samples = 64
        epochs = 2
        [grid]
        widths = [[8], [16]]
        """
    )
    table = sweep_file(tmp_path / "widths.toml")
    assert [row["widths"] for row in records(table)] == [[8], [16]]
    assert set(table["steps"]) == {2}
    assert set(table["alive"]) == {8, 16}
    assert len(list((tmp_path / "widths" / "histories").glob("*.npz"))) == 2


def test_a_file_names_a_function_that_processes_can_import(tmp_path):
    (tmp_path / "my_runs.py").write_text(
        "import evoprune as ep, numpy as np\n"
        "def make(*, seed, width):\n"
        "    x = np.eye(4, dtype='float32')\n"
        "    trainer = ep.Trainer(ep.mlp(4, width, 2, seed=seed), selection=None)\n"
        "    return trainer, {'data': (x, np.arange(4) % 2), 'epochs': 3}\n"
    )
    (tmp_path / "mine.toml").write_text('make = "my_runs:make"\n[grid]\nwidth = [3, 4]\n')
    code = f"""
        from evoprune.bridges.sweep import sweep_file
        print(sweep_file({str(tmp_path / "mine.toml")!r}, n_jobs=2)["steps"].tolist())
    """
    assert scripts.run(code).strip() == "[3, 3]"


def test_a_bad_file_is_named(tmp_path):
    for text, error in (
        ("grid = [", "not valid TOML"),
        ("sedes = 2\n[grid]\na = [1]", "got 'sedes'"),
        ("seeds = 2", r"expected a table \[grid\]"),
        ('make = "nothing"\n[grid]\na = [1]', "module:function"),
        ('make = "no_such_module:make"\n[grid]\na = [1]', "no_such_module"),
    ):
        (tmp_path / "bad.toml").write_text(text)
        with pytest.raises(ValueError, match=f"bad.toml.*{error}"):
            sweep_file(tmp_path / "bad.toml")


# ---- optuna ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
def test_optuna_prunes_a_bad_run_and_the_network_stays_valid():
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        pruner=optuna.pruners.ThresholdPruner(upper=0.6, n_warmup_steps=3), direction="minimize"
    )
    ended = {}

    def objective(trial):
        rate = trial.suggest_categorical("rate", [1e-6, 1e-2])
        trainer, arguments = make(seed=0, pressure=1.0, widths=(8,))
        trainer = ep.Trainer(trainer.network, optimizer=ep.AdamW(rate))
        pruning = ep.OptunaPruning(trial)
        history = trainer.fit(**arguments, callbacks=[pruning], progress=False)
        ended[rate] = (history.epochs_done, pruning.pruned)
        pruning.check()
        return history["validation_loss"][-1]

    study.enqueue_trial({"rate": 1e-6})
    study.enqueue_trial({"rate": 1e-2})
    study.optimize(objective, n_trials=2)
    states = [trial.state.name for trial in study.trials]
    assert states == ["PRUNED", "COMPLETE"]
    assert ended[1e-6][0] < 10
    assert ended[1e-2] == (10, False)


def test_optuna_names_the_existing_columns():
    pytest.importorskip("optuna")
    trainer, arguments = make(seed=0, pressure=1.0, widths=(8,))
    arguments.pop("validation_data")
    with pytest.raises(KeyError, match="no validation data was given"):
        trainer.fit(**arguments, callbacks=[ep.OptunaPruning(None)], progress=False)
