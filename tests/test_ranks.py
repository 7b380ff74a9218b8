"""Data-parallel training: ranks that share each batch give the results of one process.

The ranks are threads with the methods of a communicator (tests/ranks.py); test_mpi.py repeats the
main cases with MPI.
"""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import ranks_cases as cases
from ranks import Aborted, launch

import evoprune as ep
from evoprune.training.ranks import Ranks, digest

pytestmark = pytest.mark.filterwarnings("ignore::evoprune.NothingCanDie")


def good(results):
    """Return the results of all ranks; raise the first error."""
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def assert_equal(a, b, tolerance):
    assert a.alive == b.alive
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=0, atol=tolerance, err_msg=name)


# ---- results equal those of one process ---------------------------------------------------------


@pytest.mark.parametrize("name", cases.CASES)
@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_equal_one_process_with_the_whole_batch(name, ranks):
    alone, history = cases.run(name)
    assert cases.extinct(alone) == (name not in cases.NO_DEATHS)
    for network, others in good(launch(ranks, lambda one: cases.run(name, one))):
        assert_equal(network, alone, 1e-11)
        for column in cases.COLUMNS:
            np.testing.assert_allclose(others[column], history[column], rtol=0, atol=1e-11)
        assert np.array_equal(others.extinctions["step"], history.extinctions["step"])
        assert np.array_equal(others.extinctions["birth"], history.extinctions["birth"])


def test_more_ranks_than_blocks_of_a_batch_norm_leave_some_without_rows():
    alone, _ = cases.run("batch norm")
    network, _ = good(launch(5, lambda one: cases.run("batch norm", one)))[4]
    assert_equal(network, alone, 1e-11)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_results_are_bit_identical_for_one_number_of_ranks(dtype):
    runs = [
        good(launch(3, lambda one: cases.run("plain", one, dtype=dtype)))[rank][0]
        for _ in range(2)
        for rank in range(3)
    ]
    assert len({digest(network) for network in runs}) == 1


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_of_a_rank_do_not_affect_results(threads):
    ep.set_threads(threads)
    try:
        network, _ = good(launch(2, lambda one: cases.run("clipped", one)))[0]
    finally:
        ep.set_threads(None)
    assert digest(network) == digest(good(launch(2, lambda one: cases.run("clipped", one)))[0][0])


def test_metrics_are_those_of_all_validation_data():
    alone = cases.run("plain", metrics=["f1", "top5"])[1]
    for _, history in good(launch(2, lambda one: cases.run("plain", one, metrics=["f1", "top5"]))):
        assert np.allclose(history["validation_f1"], alone["validation_f1"], rtol=0, atol=1e-12)


def test_metrics_of_the_training_data_are_those_of_all_of_it():
    more = {"metrics": ["f1"], "training_metrics": True}
    alone = cases.run("plain", **more)[1]
    for _, history in good(launch(2, lambda one: cases.run("plain", one, **more))):
        assert np.allclose(history["training_f1"], alone["training_f1"], rtol=0, atol=1e-12)


def test_one_rank_is_one_process():
    network, _ = good(launch(1, lambda one: cases.run("plain", one)))[0]
    assert digest(network) == digest(cases.run("plain")[0])


# ---- communication -------------------------------------------------------------------------------


def test_bytes_of_a_step_fall_with_extinctions():
    def run(one):
        return *cases.run("plain", one), one.sizes

    network, history, sizes = good(launch(2, run))[0]
    header = 2 * 11  # the message begins with 11 elements for each of the two ranks

    def trained(alive):
        """Count the elements of a network of widths 20, `alive` and 3, padded to cache lines."""
        line = 8
        return sum(-(-n // line) * line for n in (20 * alive, alive * 3, alive, 3, alive))

    assert sizes[0] == 8 * (header + trained(32))
    assert sizes[-1] == 8 * (header + trained(network.alive["populations1"]))
    assert all(later <= earlier for earlier, later in itertools.pairwise(sizes))
    assert len(set(sizes)) > 3
    removals = len(sizes) - history.steps_done
    assert 0 < removals <= len(np.unique(history.extinctions["step"]))


# ---- callbacks and display -----------------------------------------------------------------------


def test_only_rank_0_calls_callbacks_and_prints(tmp_path, capsys):
    def run(one):
        log = tmp_path / f"{one.rank}.jsonl"
        return cases.run("plain", one, callbacks=ep.JSONLLogger(log), progress=True)

    good(launch(2, run))
    assert [path.name for path in tmp_path.iterdir()] == ["0.jsonl"]
    text = capsys.readouterr().err
    assert "alive" in text


def test_a_callback_of_rank_0_stops_all_ranks_and_gives_all_the_best_network():
    class Stop(ep.Callback):
        def on_epoch_end(self, trainer, row):
            if row["epoch"] == 2:
                self.best = trainer.network.copy()
            if row["epoch"] == 4:
                trainer.slow(0.5)
            if row["epoch"] == 5:
                trainer.stop()

        def on_fit_end(self, trainer, history):
            trainer.keep(self.best)

    def run(one=None):
        stop = Stop()
        network, history = cases.run("plain", one, callbacks=stop)
        return network, history

    alone, _ = run()
    for network, history in good(launch(2, run)):
        assert history.epochs_done == 5
        assert history["rate"][-1] == pytest.approx(cases.run("plain")[1]["rate"][4] / 2)
        assert_equal(network, alone, 1e-11)


def test_a_time_budget_stops_all_ranks_at_the_same_step():
    done = [
        history.steps_done
        for _, history in good(
            launch(2, lambda one: cases.run("plain", one, seconds=0.05, epochs=10**6))
        )
    ]
    assert done[0] == done[1] < 10**6


def test_a_stopped_run_is_resumed():
    def run(one):
        trainer = cases.trainer("plain", one)
        first = cases.arguments("plain") | {"until": 3.4}
        trainer.fit(**first, progress=False)
        again = cases.trainer("plain", one)
        again.restore(trainer.state())
        data = cases.arguments("plain")
        again.resume(
            data["data"], data["y"], validation_data=data["validation_data"], progress=False
        )
        return again.network

    straight = good(launch(2, lambda one: cases.run("plain", one)))[0][0]
    for network in good(launch(2, run)):
        assert digest(network) == digest(straight)


# ---- errors --------------------------------------------------------------------------------------


def errors(results, cause):
    """Check that all ranks raise, rank 1 with type `cause`; return messages of the other ranks."""
    kinds = [type(result) for result in results]
    assert all(issubclass(kind, Exception) for kind in kinds), results
    assert isinstance(results[1], cause)
    return [str(r) + " ".join(getattr(r, "__notes__", [])) for i, r in enumerate(results) if i != 1]


@pytest.mark.parametrize("when", ["loss", "fitness", "last"])
def test_a_law_that_fails_on_one_rank_stops_all(when):
    def run(one):
        calls = itertools.count()
        limit = 7 if when != "last" else cases.STEPS - 1

        def failing(*_):
            if one.rank == 1 and next(calls) == limit:
                raise ZeroDivisionError("the law has failed")

        if when == "loss":

            @ep.loss(target="class")
            def law(outputs, targets):
                failing()
                return cases.cross_entropy(outputs, targets)

            return cases.run("plain", one, loss=law)

        @ep.fitness
        def worth(signals):
            failing()
            return -signals["mass_gradient"]

        return cases.run("plain", one, fitness=worth)

    others = errors(launch(3, run), ZeroDivisionError)
    assert all("rank 1" in text and "the law has failed" in text for text in others)


def test_a_callback_that_fails_stops_all_ranks():
    class Fails(ep.Callback):
        def on_epoch_end(self, trainer, row):
            raise OSError("the disk is full")

    results = launch(2, lambda one: cases.run("plain", one, callbacks=Fails()))
    assert isinstance(results[0], OSError)
    assert isinstance(results[1], RuntimeError)
    assert "rank 0: OSError: the disk is full" in str(results[1])


def test_a_batch_that_cannot_be_read_on_one_rank_stops_all():
    def run(one):
        class Batches:
            def __len__(self):
                return 5

            def __iter__(self):
                x, y = cases.data("plain")
                for i in range(5):
                    if i == 3 and one.rank == 1:
                        raise OSError("no such file")
                    yield x[:64], y[:64]

        return cases.trainer("plain", one).fit(Batches(), epochs=2, progress=False)

    assert "rank 1: OSError: no such file" in errors(launch(2, run), OSError)[0]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"epochs": 3}, "the plan of the run"),
        ({"selection": None}, "the selection"),
        ({"seed": 8}, "the network"),
        ({"shift": 1}, "the training data"),
    ],
)
def test_ranks_with_different_settings_get_an_error(change, named):
    results = launch(2, lambda one: cases.run("plain", one, **(change if one.rank else {})))
    for result in results:
        assert isinstance(result, RuntimeError)
        assert named in str(result)
        assert "rank 1" in str(result)


def test_a_bad_argument_on_one_rank_stops_all():
    results = launch(2, lambda one: cases.run("plain", one, epochs=-1 if one.rank else 4))
    assert isinstance(results[1], ValueError)
    assert "rank 1: ValueError: epochs" in str(results[0])


def test_ranks_with_other_living_populations_stop():
    class Kills(ep.Callback):
        def on_epoch_end(self, trainer, row):
            trainer.network.kill("populations1", [0, 1])

    def run(one):
        trainer = cases.trainer("plain", one)
        return trainer.fit(
            **cases.arguments("plain"), progress=False, callbacks=Kills() if not one.rank else ()
        )

    for result in launch(2, run):
        assert isinstance(result, RuntimeError)
        assert "living populations of rank 1" in str(result)


def test_ranks_whose_weights_differ_stop_at_the_end_of_an_epoch():
    class Writes(ep.Callback):
        def on_epoch_end(self, trainer, row):
            trainer.network["dense1.weight"][0, 0] += 1e-9

    for result in launch(2, lambda one: cases.run("plain", one, callbacks=Writes())):
        assert isinstance(result, RuntimeError)
        assert "the trained network differs" in str(result)


def test_divergence_is_raised_on_all_ranks():
    def run(one):
        with np.errstate(all="ignore"):
            return cases.run("plain", one, rate=1e30)

    results = launch(2, run)
    assert all(isinstance(result, ep.Diverged) for result in results), results


def test_a_failure_that_cannot_be_reported_aborts(capfd):
    class Broken:
        def __init__(self, one):
            self.one = one
            self.calls = 0

        def __getattr__(self, name):
            return getattr(self.one, name)

        def Allreduce(self, sendbuf, recvbuf):
            self.calls += 1
            if self.calls == 5 and self.one.rank == 1:
                raise OSError("the network is down")
            self.one.Allreduce(sendbuf, recvbuf)

    results = launch(2, lambda one: cases.run("plain", Broken(one)))
    assert isinstance(results[1], OSError)
    assert isinstance(results[0], Aborted)
    assert "rank 1 has failed" in capfd.readouterr().err


def test_a_communicator_needs_its_methods():
    network = ep.mlp(4, 3, 2)
    with pytest.raises(TypeError, match="communicator: expected .* without Get_rank"):
        ep.Trainer(network, communicator=object())


def test_a_batch_smaller_than_the_number_of_ranks_is_refused():
    for result in launch(3, lambda one: cases.run("plain", one, batch_size=2)):
        assert isinstance(result, ValueError)
        assert "batch_size: expected at least 3" in str(result)


# ---- threads -------------------------------------------------------------------------------------


def test_ranks_on_the_same_processors_share_them(monkeypatch):
    monkeypatch.delenv("EVOPRUNE_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    ep.set_threads(None)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert launch(2, lambda one: Ranks(one).threads()) == [4, 4]
    monkeypatch.setenv("EVOPRUNE_NUM_THREADS", "3")
    assert launch(2, lambda one: Ranks(one).threads()) == [3, 3]


def test_a_trainer_with_a_communicator_is_copied_without_it():
    def run(one):
        trainer = cases.trainer("plain", one)
        return copy.deepcopy(trainer)._ranks.size

    assert launch(2, run) == [1, 1]
