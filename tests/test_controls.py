"""The controls of experiments/controls.py: their sizes, how settings are chosen, and the page."""

from __future__ import annotations

import importlib
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
EXPERIMENTS = ROOT / "experiments"
pytestmark = pytest.mark.skipif(not EXPERIMENTS.is_dir(), reason="an archive without experiments")


@pytest.fixture
def module(monkeypatch):
    """Return a function that imports a script; the environment that it cleans is restored."""
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    with mock.patch.dict(os.environ):
        yield importlib.import_module


@pytest.fixture
def cuts(module, monkeypatch):
    """Return a function that runs a schedule; return its cuts in place of a trained network."""
    schedules = module("schedules")
    monkeypatch.setattr(schedules, "on_the_way", lambda job, train, sizes: sizes)
    job = schedules.Job(net="mlp 20-16-8-3", epochs=8)
    found = schedules.Found({"alive": [4, 3], "macs": 20 * 4 + 4 * 3 + 3 * 3})
    return lambda name, **how: getattr(schedules, name)(job, None, found, **how)


def test_a_cubic_schedule_removes_most_at_first(cuts):
    sizes = cuts("gradual", end=0.5)  # 4 cuts in each of 4 epochs
    assert list(sizes) == [i / 4 for i in range(1, 17)]
    assert sizes[1.0] == [round(4 + 12 * 0.75**3), round(3 + 5 * 0.75**3)]
    assert sizes[4.0] == [4, 3]


def test_five_cuts_keep_the_same_share_each(cuts):
    sizes = cuts("iterative", end=0.5)
    assert list(sizes) == [0.8, 1.6, 2.4, 3.2, 4.0]
    assert [first for first, _ in sizes.values()] == [
        round(16 * 0.25 ** (i / 5)) for i in (1, 2, 3, 4, 5)
    ]


def test_one_cut_comes_where_it_is_set(cuts):
    assert cuts("one_cut") == {4.0: [4, 3]}
    assert cuts("one_cut", end=0.25) == {2.0: [4, 3]}


def test_uniform_shares_have_the_nearest_multiply_adds(cuts):
    found = list(cuts("uniform").values())[-1]
    shapes = [[max(1, i), max(1, round(i / 2))] for i in range(1, 17)]
    distance = [abs(20 * a + a * b + 3 * b - 101) for a, b in shapes]
    assert found == shapes[distance.index(min(distance))]


def test_a_second_phase_trains_the_final_shape(module):
    schedules, ep = module("schedules"), module("evoprune")
    job = schedules.Job(net="mlp 20-16-8-3", epochs=4, batch=32)
    random = np.random.default_rng(0)
    data = ep.datasets.Dataset(random.normal(size=(64, 20)), random.integers(0, 3, 64))
    found = schedules.Found({"alive": [4, 3]})
    optimizers = []
    optimizer_of = schedules.jobs.optimizer_of
    schedules.jobs.optimizer_of = lambda job: optimizers.append(job) or optimizer_of(job)
    try:
        phases = {"end": 0.25, "first": 2, "later": 0.01, "more": 3}
        trained = schedules.gradual(job, data, found, **phases)
    finally:
        schedules.jobs.optimizer_of = optimizer_of
    assert list(trained.net.alive.values()) == [4, 3]
    assert [(one.rate, one.epochs) for one in optimizers] == [(2e-3, 4), (0.01, 3)]
    shapes = [(16, 8)]  # before each of the cuts, which are a quarter of an epoch apart
    shapes += [(4 + 12 * left, 3 + 5 * left) for left in ((3 / 4) ** 3, (1 / 2) ** 3, (1 / 4) ** 3)]
    shapes = [(round(a), round(b)) for a, b in shapes]
    costs = [20 * a + a * b + 3 * b for a, b in [*shapes, (4, 3)]]
    assert trained.macs == pytest.approx(sum(costs[:4]) / 4 + costs[4] * (1 + 3))


def test_the_two_best_settings_are_run_with_the_other_seeds(module, monkeypatch):
    controls = module("controls")
    accuracy = {(1e-3, 7): 0.5, (2e-3, 7): 0.9, (4e-3, 7): 0.8, (2e-3, 8): 0.2, (4e-3, 8): 0.7}
    some = [{"rate": rate, "decay": 0.1} for rate in (1e-3, 2e-3, 4e-3)]
    method = controls.Method(controls.selection, settings=some)
    task = controls.Task(controls.Job(), {"ours": method}, chosen_by=(7, 8))
    runs = []

    def make(self, name):
        rate = self.settings[name]["rate"]
        assert self.read == "held 0"
        runs.append((rate, self.seed))
        self.rows[name] = {
            "accuracy": accuracy[runs[-1]],
            "loss": 1.0,
            "alive": [1],
            "macs": 1,
            "training_macs": 1,
        }

    monkeypatch.setattr(controls.Runs, "make", make)
    told = {}
    options = SimpleNamespace(quick=False)
    lab = SimpleNamespace(facts={}, options=options, check_time=lambda: None, write=told.update)
    choice = controls.Choice(task, lab)
    assert choice.of("ours") == some[2]  # a mean of .75, beside .55
    assert runs == [(1e-3, 7), (2e-3, 7), (4e-3, 7), (2e-3, 8), (4e-3, 8)]
    lab.facts = told
    assert controls.Choice(task, lab).of("ours") == some[2]
    assert len(runs) == 5  # all are known


def test_seeds_of_a_method_have_validation_images_of_their_own(module, monkeypatch):
    controls = module("controls")
    some = [{"rate": rate, "decay": 0.1} for rate in (1e-3, 2e-3)]
    method = controls.Method(controls.selection, settings=some, chosen_by=(100, 101, 102))
    reads = []

    def make(self, name):
        reads.append((self.seed, self.read))
        self.rows[name] = dict.fromkeys(controls.RESULTS, 1)

    monkeypatch.setattr(controls.Runs, "make", make)
    told = {}
    options = SimpleNamespace(quick=False)
    lab = SimpleNamespace(facts={}, options=options, check_time=lambda: None, write=told.update)
    task = controls.Task(controls.Job(), {"ours": method})
    controls.Choice(task, lab).of("ours")
    assert sorted(reads) == sorted(
        (seed, f"held {seed - 100}") for seed in (100, 101, 102) for _ in some
    )
    jobs = module("jobs")
    first, second = (jobs.data_of("mnist", read, False)[1] for read in ("held 0", "held 1"))
    assert len(first) == len(second) == jobs.HELD
    assert (first.y != second.y).any()


def test_differences_are_paired_by_seed(module):
    controls = module("controls")
    ours, other = controls.Method(controls.selection), controls.Method(controls.gradual, of="ours")
    task = controls.Task(controls.Job(), {"ours": ours, "gradual": other})
    same = {"alive": [1], "born": [2], "macs": 1, "parameters": 1, "training_macs": 1}
    rows = [
        {"seed": 0, "ours": {"accuracy": 0.9, **same}, "gradual": {"accuracy": 0.8, **same}},
        {"seed": 1, "ours": {"accuracy": 0.8, **same}, "gradual": {"accuracy": 0.6, **same}},
        {"seed": 2, "ours": {"accuracy": 0.1, **same}},
    ]
    gap = controls.summary(task, {}, rows)["gradual"]["minus"]["ours"]
    assert gap["seeds"] == 2
    assert gap["mean"] == pytest.approx(0.15)
    assert gap["standard_error"] == pytest.approx(0.05)  # a deviation of .1 / sqrt(2), of 2


def test_a_smaller_loss_is_better(module):
    controls = module("controls")
    ours, other = controls.Method(controls.selection), controls.Method(controls.gradual, of="ours")
    task = controls.Task(controls.Job(), {"ours": ours, "gradual": other}, by="loss")
    same = {"alive": [1], "born": [2], "macs": 1, "parameters": 1, "training_macs": 1}
    losses = [(1.5, 1.75), (1.25, 1.75)]
    rows = [
        {
            "seed": seed,
            "ours": {"accuracy": 0.5, "loss": of_ours, **same},
            "gradual": {"accuracy": 0.75, "loss": of_other, **same},
        }
        for seed, (of_ours, of_other) in enumerate(losses)
    ]
    told = controls.summary(task, {}, rows)
    assert told["gradual"]["minus"]["ours"]["mean"] == 0.375  # of .25 and .5
    assert told["ours"]["loss"] == 1.375


@pytest.mark.parametrize("name", ["laws", "fashion", "goal", "front", "lenet"])
def test_rows_of_the_page_and_their_controls_have_the_same_shapes(module, name):
    rows = module("controls_rows").ROWS[name]
    results = EXPERIMENTS / "results"
    known = json.loads((results / f"{name}.json").read_text())["rows"]
    ours = {row["key"]: row for row in known}
    facts = json.loads((results / f"controls_rows_{name}.json").read_text())
    gaps = {}
    for run in facts["runs"]:
        found = ours[replace(rows[run["row"]], seed=run["seed"]).key]
        assert (run["alive"], run["macs"]) == (found["alive"], found["macs"])
        gaps.setdefault(run["row"], []).append(found["accuracy"] - run["accuracy"])
    assert list(gaps) == list(rows)
    for row, some in gaps.items():
        told = facts["summary"][row]["selection_minus_this"]
        assert told == pytest.approx(sum(some) / len(some), abs=1e-6)


def test_tables_of_the_page_are_those_of_the_results(module):
    page = module("controls_page")
    for name in page.HEADS:
        facts = json.loads((EXPERIMENTS / "results" / f"{name}.json").read_text())
        assert "\n".join(page.table(name, facts)) in page.PAGE.read_text(), name


def test_figures_of_the_text_are_in_a_table(module):
    page = module("controls_page").PAGE
    text = page.read_text()
    tables = re.findall(r"<!-- table: .*?<!-- end of table -->", text, re.S)
    for table in tables:
        text = text.replace(table, "")
    text = re.sub(r"`[^`]*`|\]\([^)]*\)", "", text)  # code, and addresses of links
    known = set(re.findall(r"\d+\.\d+", "".join(tables)))
    known |= set(re.findall(r"\d+\.\d+", page.with_name("benchmarks.md").read_text()))
    figures = re.findall(r"\d+\.\d\d+", text)
    assert len(figures) > 50
    assert [figure for figure in figures if figure not in known] == []


def test_quantiles_are_those_of_students_t(module):
    stats = pytest.importorskip("scipy.stats")
    for n, quantile in module("controls_page").QUANTILE.items():
        assert quantile == pytest.approx(stats.t.ppf(0.975, n - 1), abs=5e-4)
