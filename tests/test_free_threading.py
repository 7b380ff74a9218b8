"""Many threads use the same objects; free-threaded interpreters run the core without the GIL."""

from __future__ import annotations

import sysconfig
import threading

import numpy as np
import pytest
import scripts

import evoprune as ep

THREADS = 6


def at_once(work):
    """Call work(i) in thread i, all starting together; return the results in order."""
    gate, found, errors = threading.Barrier(THREADS), [None] * THREADS, []

    def call(i):
        gate.wait()
        try:
            found[i] = work(i)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=call, args=(i,)) for i in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    return found


@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="an interpreter with a GIL"
)
def test_the_core_leaves_the_gil_off():
    code = """
        import sys
        import evoprune
        print(sys._is_gil_enabled())
    """
    assert scripts.run(code, PYTHON_GIL="").strip() == "False"


def test_threads_train_networks_of_their_own_as_one_does():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 6)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64)

    def train(i):
        selection = ep.Selection(2.0, dynamics=ep.Malthusian(lifespan=20), min_age=5)
        trainer = ep.Trainer(ep.mlp(6, 16, 2, seed=i), selection=selection)
        trainer.fit(x, y, epochs=8, batch_size=16, progress=False)
        return trainer.network.predict(x), trainer.network.alive

    for (found, alive), i in zip(at_once(train), range(THREADS), strict=True):
        right, survivors = train(i)
        np.testing.assert_array_equal(found, right)
        assert alive == survivors


def test_threads_read_a_network_while_one_trains_it():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 6)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64)
    selection = ep.Selection(2.0, dynamics=ep.Malthusian(lifespan=20), min_age=5)

    def make():
        return ep.Trainer(ep.mlp(6, 64, 2, seed=0), selection=selection)

    def fit(trainer):
        trainer.fit(x, y, epochs=10, batch_size=16, progress=False)
        return dict(trainer.network.items())

    right, trainer, done = fit(make()), make(), threading.Event()

    def work(i):
        if i == 0:
            try:
                return fit(trainer)
            finally:
                done.set()
        while not done.is_set():
            network = trainer.network
            assert np.isfinite(network.predict(x[:5])).all()
            assert sum(network.copy().alive.values()) >= 1
            assert "populations1" in repr(network)
            assert np.isfinite(network["dense1.weight"]).all()
        return None

    found = at_once(work)[0]
    assert found.keys() == right.keys()
    for name, array in right.items():
        np.testing.assert_array_equal(found[name], array)


def test_a_community_takes_one_call_at_a_time():
    community = ep.Community({"a": 40, "b": 20}, ep.Selection(1.0, min_age=5), seed=0)
    fitness = {"a": np.linspace(0.1, 1, 40), "b": np.linspace(0.1, 1, 20)}

    def work(i):
        steps = 0
        for _ in range(50):
            try:
                community.step(fitness=fitness)
                steps += 1
            except RuntimeError as error:
                assert "another call is at work" in str(error)  # noqa: PT017
        return steps

    assert sum(at_once(work)) == community.generation > 0
