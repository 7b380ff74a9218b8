"""Files are written completely or not at all; broken and inconsistent files are refused."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import numpy as np
import pytest
from scripts import run
from trainers import fit, make, quiet

import evoprune as ep
from evoprune.common.files import existing, write_whole


def drafts(folder):
    return [path for path in folder.iterdir() if path.name.endswith(".draft")]


# ---- writing -------------------------------------------------------------------------------------


def test_a_link_is_kept_and_its_target_written(tmp_path):
    net, target = ep.mlp(4, 8, 2), tmp_path / "real.safetensors"
    link = tmp_path / "latest.safetensors"
    link.symlink_to("real.safetensors")
    net.save(link)  # the target of the link does not exist yet
    assert link.is_symlink()
    net.notes["n"] = 2
    net.save(link)
    assert link.is_symlink()
    assert ep.load(target).notes == {"n": 2}
    loop = tmp_path / "loop.safetensors"
    loop.symlink_to(loop.name)
    with pytest.raises(OSError, match=r"loop\.safetensors"):
        net.save(loop)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_permissions_are_kept(mode, tmp_path):
    path = tmp_path / "net.safetensors"
    ep.mlp(4, 8, 2).save(path)
    path.chmod(mode)
    ep.mlp(4, 8, 2).save(path)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    write_whole(tmp_path / "whole", b"")
    assert (tmp_path / "whole").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("length", [1, 200, 243, 254, 255])
def test_every_legal_name_works(length, tmp_path):
    path = tmp_path / ("a" * length)
    write_whole(path, b"whole")
    assert path.read_bytes() == b"whole"
    with pytest.raises(OSError, match="too long"):
        write_whole(tmp_path / ("a" * 256), b"")
    assert not drafts(tmp_path)


def test_devices_pipes_and_folders_are_refused_and_left(tmp_path):
    net, pipe = ep.mlp(4, 8, 2), tmp_path / "pipe.npz"
    os.mkfifo(pipe)
    for path, kind in ((pipe, "a FIFO"), ("/dev/null", "a device"), (tmp_path, "a folder")):
        before = Path(path).stat().st_mode
        with pytest.raises(OSError, match=f"expected a regular file, got {kind}"):
            net.save(path)
        assert Path(path).stat().st_mode == before
    for read in (ep.load, ep.History.load, ep.datasets.read_idx, make().restore):
        with pytest.raises(OSError, match="expected a regular file, got a FIFO"):
            read(pipe)  # without waiting for a writer
        with pytest.raises(OSError, match="got a device"):
            read("/dev/null")
        with pytest.raises(FileNotFoundError, match="got a folder"):
            read(tmp_path)
    assert existing(__file__).name == "test_files.py"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_errors_name_the_file_and_keep_the_old_one(tmp_path):
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"before")
    with pytest.raises(FileNotFoundError, match=r"the folder .* does not exist.*b\.npz"):
        write_whole(tmp_path / "no" / "b.npz", b"")

    def full(file):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"No space left on device: '.*net\.safetensors'"):
        write_whole(path, full)
    assert path.read_bytes() == b"before"
    assert not drafts(tmp_path)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anything")
def test_read_only_files_are_not_replaced(tmp_path):
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"before")
    path.chmod(0o444)
    with pytest.raises(PermissionError, match="read-only"):
        write_whole(path, b"after")


def test_two_threads_that_save_to_one_path_never_expose_half_a_file(tmp_path):
    path, ended, errors = tmp_path / "file", threading.Event(), []

    def save(letter):
        try:
            while not ended.is_set():
                write_whole(path, letter * 200_000)
        except BaseException as error:
            errors.append(error)

    write_whole(path, b"a" * 200_000)
    threads = [threading.Thread(target=save, args=(letter,)) for letter in (b"a", b"b", b"c")]
    for thread in threads:
        thread.start()
    seen = set()
    reads = 0
    while not errors and (reads < 300 or len(seen) < 3):
        reads += 1
        content = path.read_bytes()
        assert len(content) == 200_000
        assert content == content[:1] * 200_000
        seen.add(content[:1])
    ended.set()
    for thread in threads:
        thread.join()
    assert not errors
    assert not drafts(tmp_path)


def test_a_process_killed_at_any_moment_leaves_a_complete_file(tmp_path):
    """200 processes, each saving repeatedly, are killed; the file is always complete."""
    out = run(
        """
        import os, random, signal, sys, time
        import numpy as np, evoprune as ep
        path = sys.argv[1] + "/net.safetensors"
        net = ep.mlp(30, 40, 2)
        saved = 0
        net.notes["n"] = saved
        net.save(path)
        clock = random.Random(1)
        between = 0
        for _ in range(200):
            read, write = os.pipe()
            child = os.fork()
            if not child:
                n = saved
                while True:
                    n += 1
                    net.notes["n"] = n
                    net.save(path)
                    os.write(write, n.to_bytes(4, "big"))
            os.close(write)
            time.sleep(clock.uniform(0, 0.03))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            told = saved
            while len(part := os.read(read, 4)) == 4:
                told = int.from_bytes(part, "big")
            os.close(read)
            again = ep.load(path)
            assert again.notes["n"] in (told, told + 1), (again.notes["n"], told)
            assert np.array_equal(again["dense1.weight"], net["dense1.weight"])
            between += again.notes["n"] - told
            saved = again.notes["n"]
        net.save(path)
        print(len(os.listdir(sys.argv[1])), saved > 0)
        """,
        str(tmp_path),
    )
    assert out.split() == ["1", "True"]  # temporary files of killed processes are removed


# ---- notes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("notes", "text"),
    [
        ({"score": np.float32(0.9)}, r"notes\['score'\]: expected a plain value .* got float32"),
        ({"a": {"b": [1, {2}]}}, r"notes\['a'\]\['b'\]\[1\]: .* got set"),
        ({1: "one"}, "notes: expected str as keys, got 1"),
        ("text", "notes: expected a dict, got 'text'"),
        ([1], "notes: expected a dict"),
    ],
)
def test_notes_are_checked_when_they_are_saved(notes, text, tmp_path):
    net = ep.mlp(4, 8, 2)
    net.notes = notes
    with pytest.raises(TypeError, match=text):
        net.save(tmp_path / "net.safetensors")
    assert not list(tmp_path.iterdir())


def test_equal_networks_are_equal_bytes(tmp_path):
    """Bytes are equal in every process, so they do not depend on the hashing of names."""
    code = """
        import evoprune as ep, sys
        net = ep.mlp(4, 8, 2)
        net.notes["a"] = 1
        net.save(sys.argv[1])
        """
    for name in ("a", "b", "c"):
        run(code, str(tmp_path / name))
    contents = {(tmp_path / name).read_bytes() for name in ("a", "b", "c")}
    assert len(contents) == 1
    net = ep.load(tmp_path / "a")
    net.copy().save(tmp_path / "d")
    assert (tmp_path / "d").read_bytes() in contents


def test_notes_within_themselves_are_refused(tmp_path):
    net = ep.mlp(4, 8, 2)
    net.notes["me"] = net.notes
    with pytest.raises(ValueError, match="nested"):
        net.save(tmp_path / "net.safetensors")


def test_notes_come_back(tmp_path):
    net = ep.mlp(4, 8, 2)
    net.notes = {"a": [1, 2.5, None, True, {"é": "ü"}], "b": "", "c": np.float64(0.5)}
    net.save(tmp_path / "net.safetensors")
    assert ep.load(tmp_path / "net.safetensors").notes == net.notes


def test_the_spec_is_a_copy(tmp_path):
    net = ep.mlp(4, 8, 2)
    net.spec["layers"].clear()
    net.spec["input"].append(3)
    net.save(tmp_path / "net.safetensors")
    assert ep.load(tmp_path / "net.safetensors").spec == net.copy().spec == net.spec
    with pytest.raises(TypeError, match="other: expected a Network, got int"):
        net.become(3)


# ---- checkpoints ---------------------------------------------------------------------------------


@quiet
def test_checkpoint_names_are_made_of_columns(tmp_path):
    from trainers import data

    trainer = make()
    name = tmp_path / "e{epoch:02d}-{validation_loss:.2f}.safetensors"
    fit(trainer, epochs=4, validation_data=data(60, seed=3), callbacks=[ep.Checkpoint(name)])
    losses = trainer.history["validation_loss"]
    wanted = {f"e{i + 1:02d}-{loss:.2f}.safetensors" for i, loss in enumerate(losses)}
    assert {path.name for path in tmp_path.iterdir()} == wanted


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("{epok}.safetensors", r"got \{epok\}; did you mean epoch\?"),
        ("{}.safetensors", "expected fields out of epoch"),
        ("{epoch.real}.safetensors", "expected fields out of"),
        ("{epoch!r:>{width}}", "."),
        ("{epoch", "write {{ for a brace"),
        ("{epoch:q}", "a format of .* does not fit"),
    ],
)
def test_checkpoint_names_are_checked_when_made(path, text):
    with pytest.raises(ValueError, match=text):
        ep.Checkpoint(path)


@quiet
def test_checkpoints_are_checked_before_the_first_step(tmp_path):
    trainer = make()
    for path, error, text in (
        (tmp_path / "no" / "a.safetensors", FileNotFoundError, "folder .*no does not exist"),
        (tmp_path, OSError, "got a folder"),
        (tmp_path / "{validation_loss}", ValueError, "needs validation data"),
    ):
        with pytest.raises(error, match=text):
            fit(trainer, callbacks=[ep.Checkpoint(path, every=50)])
    with pytest.raises(KeyError, match="no validation data"):
        fit(trainer, callbacks=[ep.Checkpoint(tmp_path / "a", best_only=True)])
    assert trainer.network.step == 0
    assert not list(tmp_path.iterdir())
