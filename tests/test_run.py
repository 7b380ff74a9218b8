"""The pace of a run: length of calls, records, and the number of threads, on a simulated clock.

The trainer runs steps in series of about 0.05 s (SEGMENT), each in one call of the core. Only steps
advance the simulated clock, so results do not depend on the machine.
"""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from trainers import data, fit, make, same

import evoprune as ep
from evoprune.training import loop
from evoprune.training import run as _run
from evoprune.training.run import SEGMENT, ThreadTuner, Watch


class Machine:
    """Runs series of steps as the trainer does, at a cost that a test sets.

    Args:
        cost: function of (threads, now) that returns the seconds of a step.
        cut: maximum number of steps in a series.
        most: the result of `get_threads`.
    """

    def __init__(self, monkeypatch, cost, most=2, cut=10**9):
        self.cost, self.most, self.cut = cost, most, cut
        monkeypatch.setattr(_run, "get_threads", lambda: self.most)
        self.watch, self.tuner = Watch(), ThreadTuner()
        self.now, self.done = 0.0, 0
        self.log: list[tuple[float, int, int]] = []  # (begin, threads, steps) of each series

    def run(self, seconds):
        """Run for `seconds` of simulated time; return the number of threads of each call."""
        end, first = self.now + seconds, len(self.log)
        while self.now < end:
            threads = self.tuner.choose()
            steps = max(1, self.watch.steps // self.tuner.divisor)
            steps = min(steps, self.cut - self.done % self.cut)
            took = steps * self.cost(threads, self.now)
            self.log.append((self.now, threads, steps))
            self.now, self.done = self.now + took, self.done + steps
            self.watch.add(steps, took)
            self.tuner.record(steps, self.watch.seconds_a_step)
        return [threads for _, threads, _ in self.log[first:]]

    def usual(self, seconds=10.0):
        """Run for `seconds`; return the number of threads that most calls used."""
        return Counter(self.run(seconds)).most_common(1)[0][0]

    def trials(self):
        """Return the start times of failed trials: calls with an unusual number of threads."""
        usual = Counter(threads for _, threads, _ in self.log).most_common(1)[0][0]
        return [begin for begin, threads, _ in self.log if threads != usual]


def fastest_with(best, step=1e-3, slope=0.5):
    """Return the cost function step * (1 + slope * |log2(threads / best)|), in seconds."""
    return lambda threads, now: step * (1 + slope * abs(np.log2(threads / best)))


# ---- segments -------------------------------------------------------------------------------


def test_a_segment_takes_a_twentieth_of_a_second():
    watch, lengths = Watch(), []
    for _ in range(8):
        lengths.append(watch.steps)
        watch.add(watch.steps, 1e-4 * watch.steps)
    assert lengths == [1, 8, 64, 500, 500, 500, 500, 500]
    watch.add(500, 500 * 1e-2)  # suddenly a hundred times slower
    assert watch.steps == round(SEGMENT / 1e-2)
    watch.add(5, 5 * 1.0)
    assert watch.steps == 1
    assert watch.seconds_a_step == 1.0


def test_a_lap_is_a_mean_over_steps():
    watch = Watch()
    watch.add(10, 0.010)
    watch.add(30, 0.090)
    assert watch.lap() == pytest.approx(2.5)
    assert watch.lap() == 0  # no steps since the last lap
    watch.add(1, 0.004)
    assert watch.lap() == pytest.approx(4)
    assert Watch(seconds=100).elapsed() >= 100


def test_a_clock_without_progress_is_handled():
    watch = Watch()
    watch.add(1, 0.0)
    assert watch.steps == 8


# ---- records ---------------------------------------------------------------------------------


def test_records_are_many_but_far_enough_apart():
    """A long run has about 150 records.

    Their spacing is a divisor or a multiple of the steps of an epoch if such a number is near.
    """
    assert _run.spacing(20 * 468, 468) == 78
    assert _run.spacing(20 * 467, 467) == 62
    assert _run.spacing(3 * 467, 467) == 50
    assert _run.spacing(100_000, 100_000) == 800
    assert _run.spacing(1000 * 5, 5) == 35
    assert _run.spacing(50, 5) == 1
    assert _run.spacing(0, 5) == 1


# ---- threads ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("most", "best"), [(2, 1), (4, 2), (4, 1), (8, 4), (8, 2), (8, 1), (6, 3), (3, 1)]
)
def test_fewer_threads_are_found_where_they_are_faster(monkeypatch, most, best):
    machine = Machine(monkeypatch, fastest_with(best), most)
    machine.run(2.5)
    assert machine.usual() == best


@pytest.mark.parametrize("most", [2, 4, 8])
def test_all_threads_stay_where_they_are_faster(monkeypatch, most):
    machine = Machine(monkeypatch, lambda threads, now: 1e-3 / threads, most)
    machine.run(60)
    trials = machine.trials()
    assert set(machine.run(1)) <= {most, most // 2}
    gaps = np.diff([0, *trials]) / SEGMENT
    expected = [ThreadTuner.WAIT]
    while len(expected) < len(gaps):  # trials become rarer, up to a limit
        expected.append(min(ThreadTuner.PATIENCE, 2 * expected[-1]))
    assert len(gaps) > 8
    assert gaps == pytest.approx(expected, abs=1.5)


def test_one_thread_needs_no_trials(monkeypatch):
    machine = Machine(monkeypatch, lambda threads, now: 1e-3 / threads, most=1)
    assert set(machine.run(10)) == {1}
    lengths = {steps for _, _, steps in machine.log[5:]}
    assert lengths == {50}


def test_a_trial_is_short(monkeypatch):
    machine = Machine(monkeypatch, lambda threads, now: 1e-3 / threads, most=2)
    machine.run(3)
    lengths = {threads: steps for _, threads, steps in machine.log}
    assert lengths == {2: 100, 1: 25}


@pytest.mark.parametrize("cost", [1e-5, 1e-4, 1e-3, 0.02, 0.3])
@pytest.mark.parametrize("cut", [10**9, 47, 5, 1])
def test_trials_cost_little(monkeypatch, cost, cut):
    """Trials take under 2 % of the time, for any cost of a step and any length of calls."""
    machine = Machine(monkeypatch, lambda threads, now: cost * 2 / threads, most=2, cut=cut)
    machine.run(max(2, 500 * cost))
    assert machine.now < 1.02 * cost * machine.done


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_brief_segments_are_judged_together(monkeypatch, cut):
    """Short calls (cut by records or epochs) are timed together, with their start-up time."""
    first = itertools.count()

    def cost(threads, now):
        begun = 5e-5 * (next(first) % 3) / cut  # start-up varies
        return begun + 1e-4 * threads

    machine = Machine(monkeypatch, cost, most=2, cut=cut)
    machine.run(3)
    assert machine.usual() == 1
    pieces = [
        len(list(same_)) for threads, same_ in itertools.groupby(machine.run(20)) if threads == 2
    ]
    assert min(pieces) * cut * 2e-4 > 0.7 * ThreadTuner.BRIEF


def test_more_threads_are_taken_when_they_become_better(monkeypatch):
    small = fastest_with(1)
    large = fastest_with(8)
    machine = Machine(monkeypatch, lambda t, now: small(t, now) if now < 20 else large(t, now), 8)
    machine.run(20)
    assert machine.log[-1][1] == 1
    machine.run(2 * ThreadTuner.PATIENCE * SEGMENT)  # the longest time until a change is noticed
    assert machine.usual() == 8


def test_a_network_that_becomes_small_gets_fewer(monkeypatch):
    def cost(threads, now):  # a step shrinks, the cost of a thread does not
        return 1e-3 * 2.0 ** -min(now, 8) / threads + 2e-5 * threads

    machine = Machine(monkeypatch, cost, most=2)
    assert set(machine.run(2)) == {1, 2}
    assert Counter(threads for _, threads, _ in machine.log).most_common(1)[0][0] == 2
    machine.run(20)
    assert machine.usual() == 1


def test_a_new_limit_of_threads_restarts_the_tuning(monkeypatch):
    machine = Machine(monkeypatch, fastest_with(1), most=2)
    machine.run(5)
    assert machine.log[-1][1] == 1
    for machine.most in (8, 1, 4):  # as if a callback called set_threads
        assert machine.run(0.1)[0] == machine.most
        assert set(machine.run(0.9 * ThreadTuner.WAIT * SEGMENT - 0.1)) == {machine.most}
        machine.run(3)
        assert machine.usual() == 1


def test_the_limit_may_change_during_a_trial(monkeypatch):
    machine = Machine(monkeypatch, fastest_with(2), most=2)
    while machine.tuner.divisor == 1:
        machine.run(1e-9)
    machine.most = 4
    assert machine.tuner.choose() == 4
    assert machine.tuner.divisor == 1


@pytest.mark.parametrize("seed", range(5))
def test_other_work_on_the_machine_does_not_mislead_the_tuning(monkeypatch, seed):
    """Times vary by a few percent, and one call in ten takes three times as long."""
    random = np.random.default_rng(seed)

    def cost(threads, now):
        slow = 3 if random.random() < 0.1 else 1
        return 1e-3 * slow * np.exp(random.normal(0, 0.03)) / threads**0.5

    machine = Machine(monkeypatch, cost, most=2)
    threads = machine.run(100)
    assert threads.count(2) > 0.95 * len(threads)


# ---- bit-identical results -------------------------------------------------------------------


def test_the_number_of_threads_does_not_affect_results(monkeypatch):
    chosen = []

    class Whimsical(ThreadTuner):
        """Returns a random number of threads and a random length for every series of steps."""

        random = np.random.default_rng(0)

        def choose(self):
            chosen.append(int(self.random.integers(1, 5)))
            return chosen[-1]

        @property
        def divisor(self):
            return int(self.random.integers(1, 9))

    one, other = make(), make()
    fit(one)
    monkeypatch.setattr(loop, "ThreadTuner", Whimsical)
    fit(other, until=4.2)
    other.resume(data(), progress=False)
    assert set(chosen) == {1, 2, 3, 4}
    same(one, other)


def test_a_run_gets_the_threads_that_were_set(monkeypatch):
    chosen = []

    class Heard(ThreadTuner):
        def choose(self):
            chosen.append(super().choose())
            return chosen[-1]

    monkeypatch.setattr(loop, "ThreadTuner", Heard)
    ep.set_threads(3)
    try:
        fit(make(), until=1)
    finally:
        ep.set_threads(None)
    assert chosen[0] == 3
    assert max(chosen) == 3
