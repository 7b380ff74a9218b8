"""Processes forked during or after training, spawned, or made by joblib give equal results."""

from __future__ import annotations

import multiprocessing
import sys

import pytest
import scripts

PROGRAM = """
import os
import sys
import threading
import warnings

import numpy as np
import runs


def outcome(threads):
    '''A number that any bit of a run would change.'''
    net = runs.network()
    runs.train(net, runs.data(), 60, threads=threads)
    parts = [net.array(name).tobytes() for name in runs.names(net)]
    return hash_of(b"".join(parts) + net.predict(runs.data()[0], threads=threads).tobytes())


def hash_of(content):
    import hashlib

    return hashlib.sha256(content).hexdigest()


def forked(work):
    '''What work gives in a fork of this process.'''
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads, on purpose
        child = os.fork()
    if child == 0:
        try:
            os.write(write, work(2).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        result = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    return result


def fork_after():
    expected = outcome(2)
    assert [forked(outcome) for _ in range(3)] == [expected] * 3
    assert outcome(2) == expected


def fork_during():
    expected = outcome(2)
    big = runs.network(hidden=(128, 128), features=50, selection=None)
    xy, stop = runs.data(rows=500, features=50), threading.Event()

    def work():
        while not stop.is_set():
            runs.train(big, xy, 20, threads=2)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert [forked(outcome) for _ in range(5)] == [expected] * 5
    finally:
        stop.set()
        thread.join()
    assert big.step > 0


def keeps_its_own(threads):
    '''A child goes on with the parent's network; the parent's stays as it is.'''
    runs.train(NET, runs.data(), 20, threads=threads)
    return str(NET.step)


def fork_shares_nothing():
    global NET
    NET = runs.network()
    runs.train(NET, runs.data(), 30, threads=2)
    before = runs.state(NET)
    assert forked(keeps_its_own) == "50"
    assert runs.same(runs.state(NET), before)
    assert NET.step == 30


def pool(method):
    import multiprocessing

    expected = outcome(2)
    with multiprocessing.get_context(method).Pool(2) as workers:
        assert workers.map(outcome, [1, 2, 1, 3]) == [expected] * 4


def loky():
    from joblib import Parallel, delayed

    expected = outcome(2)
    got = Parallel(n_jobs=2, backend="loky")(delayed(outcome)(n) for n in (1, 2, 1))
    assert got == [expected] * 3


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    globals()[name](*arguments)
    print("done")
"""

METHODS = multiprocessing.get_all_start_methods()
forks = pytest.mark.skipif("fork" not in METHODS, reason="the system has no fork")


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("processes") / "program.py"
    path.write_text(PROGRAM)
    return path


@forks
@pytest.mark.parametrize("name", ["fork_after", "fork_during", "fork_shares_nothing"])
def test_a_fork_works(program, name):
    assert scripts.run_file(program, name) == "done\n"


@pytest.mark.parametrize("method", METHODS)
def test_pools_of_every_kind_work(program, method):
    assert scripts.run_file(program, "pool", method) == "done\n"


def test_joblib_works(program):
    pytest.importorskip("joblib")
    # joblib warns if it cannot find the number of physical cores.
    assert scripts.run_file(program, "loky", PYTHONWARNINGS="ignore") == "done\n"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_thread_remains():
    code = """
        import os, runs
        net = runs.network()
        print(len(os.listdir("/proc/self/task")))  # NumPy may have some
        for threads in (1, 2, 8):
            runs.train(net, runs.data(), 5, threads=threads)
            net.predict(runs.data(rows=2000)[0], threads=threads)
            print(len(os.listdir("/proc/self/task")))
    """
    assert len(set(scripts.run(code).split())) == 1
