"""Broken, inconsistent and malicious files: the error names the file, and little memory is used."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import zipfile

import numpy as np
import pytest
from scripts import run
from trainers import fit, make, quiet, same

import evoprune as ep

# ---- invalid networks ----------------------------------------------------------------------------


def rewritten(path, metadata=None, arrays=None):
    """Replace entries of the metadata (JSON texts) and arrays in the file of a network."""
    from safetensors import safe_open
    from safetensors.numpy import save_file

    with safe_open(path, framework="numpy") as file:
        text, old = file.metadata(), {n: file.get_tensor(n) for n in file.keys()}  # noqa: SIM118
    save_file(old | (arrays or {}), path, text | (metadata or {}))


def normed():
    layers = [ep.Dense(4), ep.BatchNorm(), ep.neurons(3), ep.Dense(2)]
    return ep.Sequential(layers, input=4)


@pytest.mark.parametrize(
    ("metadata", "arrays", "text"),
    [
        ({}, {"populations1.mass": [1, 0, 1]}, r"populations1\.alive: .* above 0 for each living"),
        (
            {},
            {"populations1.mass": [1, -1, 1]},
            r"populations1\.mass: expected numbers of at least 0",
        ),
        ({}, {"populations1.mass": [1, np.nan, 1]}, r"populations1\.mass: expected finite"),
        ({}, {"populations1.mass": [1, np.inf, 1]}, r"populations1\.mass: expected finite"),
        ({}, {"populations1.alive": [1, 0.5, 1]}, r"populations1\.alive: expected 0 or 1"),
        ({}, {"populations1.alive": [1, np.nan, 1]}, r"populations1\.alive: expected finite"),
        (
            {},
            {"batch_norm1.variance": [1, 1, -1e-3, 1]},
            r"variance: expected numbers of at least 0",
        ),
        ({}, {"populations1.bias": [1, np.inf, 1]}, r"populations1\.bias: expected finite"),
        ({}, {"first:populations1.bias": [1, np.inf, 1]}, r"populations1\.bias: .* first moments"),
        ({}, {"populations1.alive": [1, 0, 1]}, "expected a mass of 0 for each extinct"),
        ({}, {"populations1.fitness": [1, np.nan, 1]}, r"populations1\.fitness: expected finite"),
        (
            {},
            {"second:populations1.bias": [1, -1, 1]},
            r"populations1\.bias: expected second moments",
        ),
        (
            {},
            {"second:populations1.bias": [1, np.nan, 1]},
            r"populations1\.bias: expected second moments",
        ),
        ({}, {"input:shift": []}, "input:shift: expected finite numbers"),
        ({}, {"populations1.mass": [1, 1]}, r"populations1\.mass: expected float32 \(3,\)"),
        ({}, {"more": [1.0]}, "has no array 'more'"),
        ({}, {"input:shift": [np.nan]}, "shift"),
        ({"births": '{"dense2": [0, 1.9, 2]}'}, {}, "births: expected a list"),
        ({"births": '{"dense2": [0, 2, 1]}'}, {}, "births: expected ascending ids"),
        ({"births": '{"dense2": [0, 1, 1]}'}, {}, "births: expected ascending ids"),
        ({"births": '{"dense2": [0, 1, 3]}'}, {}, "births: expected ascending ids"),
        ({"births": '{"dense2": [0, 1, 1e400]}'}, {}, "births"),
        ({"births": '{"dense2": [0, 1, 99999999999999999999]}'}, {}, "births"),
        ({"births": '{"dense2": [0, 1, 2], "dense1": [0]}'}, {}, "births: .*no axis"),
        ({"births": "[]"}, {}, "births: expected an object"),
        ({"births": "[" * 100_000}, {}, "."),
        ({"step": "1e400"}, {}, "step: expected a whole number"),
        ({"step": "-1"}, {}, "step: expected a whole number"),
        ({"step": "9223372036854775807"}, {}, "step: expected a whole number"),
        ({"generation": '"3"'}, {}, "generation: expected a whole number"),
        ({"loss": '["happiness", {}]'}, {}, "loss: expected one of"),
        ({"loss": "3"}, {}, "loss: expected the name"),
        ({"notes": "3"}, {}, "notes: expected an object"),
        ({"facts": "[]"}, {}, "facts: expected an object"),
        ({"spec": "null"}, {}, "spec: expected an object"),
    ],
)
def test_inconsistent_networks_are_refused(metadata, arrays, text, tmp_path):
    path = tmp_path / "net.safetensors"
    normed().save(path)
    assert ep.load(path).alive == {"populations1": 3}
    rewritten(path, metadata, {n: np.array(a, np.float32) for n, a in arrays.items()})
    with pytest.raises(ep.FileFormatError, match=text) as caught:
        ep.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("metadata", ["null", "{}"])
def test_a_file_without_metadata_is_refused(tmp_path, metadata):
    header = f'{{"__metadata__": {metadata}}}'.encode()
    (tmp_path / "net.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ep.FileFormatError, match="not a network of evoprune"):
        ep.load(tmp_path / "net.safetensors")


@pytest.mark.parametrize(("name", "value"), [("shift", 1.0), ("scale", 2.0)])
def test_codes_are_not_scaled(tmp_path, name, value):
    path = tmp_path / "net.safetensors"
    net = ep.charlm("abcd", 4, dim=8, layers=1, heads=2)
    net.save(path)
    rewritten(path, {}, {f"input:{name}": np.array([value])})
    with pytest.raises(ep.FileFormatError, match=f"{name}: expected [01] for a network that reads"):
        ep.load(path)


def test_invalid_values_are_not_written_to_a_file(tmp_path):
    net = normed()
    net["populations1.mass"][1] = -1
    with pytest.raises(ValueError, match=r"populations1\.mass: expected numbers of at least 0"):
        net.save(tmp_path / "net.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_living_population_without_mass_is_not_written(tmp_path):
    """`fit` would refuse the loaded network, since most laws cannot change a mass of 0."""
    net = normed()
    net["populations1.mass"][1] = 0
    with pytest.raises(ValueError, match="above 0 for each living one"):
        net.save(tmp_path / "net.safetensors")
    assert not list(tmp_path.iterdir())


def peak(code, *arguments):
    """Return the peak memory of a program in KiB, less its memory after imports."""
    text = """
        import sys
        import numpy as np, evoprune as ep
        import safetensors.numpy
        from resident import peak
        before = peak()
        """
    return int(run(text + code + "\n        print(peak() - before)\n", *arguments))


def test_a_small_file_needs_little_memory(tmp_path):
    """A small file describes a layer of 10,000 x 10,000 weights, which would take 400 MB."""
    path = tmp_path / "net.safetensors"
    net = ep.mlp(4, 3, 2)
    net.save(path)
    spec = net.spec
    spec["input"] = [10_000]
    spec["layers"][0]["config"]["units"] = [10_000]
    births = json.dumps({"dense1": list(range(10_000))})
    rewritten(path, {"spec": json.dumps(spec), "births": births})
    code = """
        try:
            ep.load(sys.argv[1])
            raise SystemExit("accepted")
        except ep.FileFormatError as error:
            assert "elements in all" in str(error), error
        """
    assert peak(code, str(path)) < 50_000


def test_a_network_with_few_survivors_needs_little_memory(tmp_path):
    path = tmp_path / "net.safetensors"
    net = ep.mlp(2_000, 4_000, 2)
    net.kill("populations1", np.arange(3_997))
    net.compact()
    net.save(path)
    assert path.stat().st_size < 100_000
    code = """
        net = ep.load(sys.argv[1])
        assert net.alive == {"populations1": 3} and net.born == {"populations1": 4000}
        assert net.founding_parameters == 2000 * 4000 + 2 * 4000 + 4000 * 2 + 2
        assert net.founding_macs == 2000 * 4000 + 4000 * 2
        assert net.births("populations1").tolist() == [3997, 3998, 3999]
        assert net.copy().expanded().alive == net.born
        """.replace("assert net.copy().expanded().alive == net.born\n", "")
    assert peak(code, str(path)) < 20_000
    again = ep.load(path)
    x = np.random.default_rng(0).normal(size=(5, 2_000))
    assert np.array_equal(again.predict(x), net.predict(x))


def test_the_image_size_in_a_file_takes_no_memory(tmp_path):
    """Arrays of convolutions do not depend on image size; activations would take 4 GiB."""
    path = tmp_path / "net.safetensors"
    net = ep.cnn((6, 6, 2), [3, 4], 3)
    net.save(path)
    spec = net.spec
    spec["input"] = [1_000_006, 6, 2]
    rewritten(path, {"spec": json.dumps(spec)})
    code = """
        net = ep.load(sys.argv[1])
        assert net.spec["input"] == [1_000_006, 6, 2], net.spec["input"]
        """
    assert peak(code, str(path)) < 20_000


def test_input_features_that_died_stay_dead_in_a_file(tmp_path):
    net = ep.mlp(6, 5, 2, inputs=True)
    net.kill("features", [0, 3])
    net.compact()
    net.save(tmp_path / "net.safetensors")
    x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    for again in (ep.load(tmp_path / "net.safetensors"), net.copy()):
        assert again.births("features").tolist() == [1, 2, 4, 5]
        assert np.array_equal(again.predict(x), net.predict(x))
        assert again["dense1.weight"].shape == (4, 5)


def test_an_extinct_branch_is_extinct_when_loaded(tmp_path):
    net = ep.vit((4, 4, 1), 2, patch=2, dim=8, layers=1, heads=2)
    for layer, n in net.born.items():
        net.kill(layer, np.arange(n))
    net.compact()
    assert set(net.alive.values()) == {0}
    net.save(tmp_path / "net.safetensors")
    x = np.random.default_rng(0).normal(size=(4, 4, 4, 1)).astype(np.float32)
    for again in (ep.load(tmp_path / "net.safetensors"), net.copy()):
        assert again.alive == net.alive
        assert again.born == net.born
        assert np.array_equal(again.predict(x), net.predict(x))


# ---- histories -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def history():
    trainer = make()
    return fit(trainer, epochs=8)


def parts(history):
    with np.load(io.BytesIO(history.to_bytes())) as file:
        return {name: file[name] for name in file.files}


def packed(arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def meta(**changes):
    def change(arrays):
        text = json.loads(str(arrays["meta"])) | changes
        return {"meta": np.array(json.dumps(text))}

    return change


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda a: {"epochs.loss": a["epochs.loss"][:-1]}, "columns of one length"),
        (lambda a: {"epochs.loss": a["epochs.loss"] * 1j}, r"epochs\.loss: expected float64"),
        (lambda a: {"epochs.loss": a["epochs.loss"][None]}, r"epochs\.loss: expected float64"),
        (lambda a: {"epochs.epoch": a["epochs.epoch"][::-1]}, "ascending"),
        (lambda a: {"epochs.epoch": a["epochs.epoch"] * np.nan}, "finite"),
        (lambda a: {"epochs.loss": None}, "a column loss"),
        (lambda a: {"steps": a["steps"].astype(float)}, "steps: expected int64"),
        (lambda a: {"steps": a["steps"][::-1]}, "ascending step counts"),
        (lambda a: {"steps": a["steps"][:-1]}, "mass: expected float32"),
        (lambda a: {"mass": a["mass"][:, :-1]}, "mass: expected float32"),
        (lambda a: {"mass": -a["mass"]}, "mass: expected masses"),
        (lambda a: {"fitness": a["fitness"].astype("f8")}, "fitness: expected float32"),
        (lambda a: {"batches": a["batches"][0]}, "batches: expected"),
        (lambda a: {"batches": a["batches"][:2]}, "batches: expected 4 rows"),
        (lambda a: {"extinctions": a["steps"]}, "extinctions: expected rows"),
        (lambda a: {"new": a["steps"]}, "'new' is unknown"),
        (meta(born=[10**9, 16]), "mass: expected float32"),
        (meta(born=[24.5, 16]), "born: expected counts"),
        (meta(born=3), "born: expected one per layer"),
        (meta(layers=["a", "a"]), "layers: expected different names"),
        (meta(layers=["populations1", "other"]), "extinctions: expected layers out of"),
        (meta(per_epoch=0), "per_epoch: expected a count"),
        (meta(record_every="5"), "record_every: expected a count"),
        (meta(thinned=1e400), "thinned: expected a count"),
        (meta(settings=[]), "settings: expected a dict"),
        (meta(interrupted=1), "interrupted: expected true or false"),
        (meta(version=99), "version: expected 1, got 99"),
        (meta(format="song"), "meta: expected that of a history"),
        (lambda a: {"meta": np.array("[" * 100_000)}, "not a history of evoprune"),
        (lambda a: {"meta": np.array("{")}, "not a history of evoprune"),
        (lambda a: {"meta": np.arange(3)}, "meta: expected a text"),
    ],
)
def test_inconsistent_histories_are_refused(change, text, history, tmp_path):
    arrays = parts(history)
    path = tmp_path / "history.npz"
    path.write_bytes(packed(arrays))
    assert ep.History.load(path).epochs_done == 8
    changed = {n: a for n, a in (arrays | change(arrays)).items() if a is not None}
    path.write_bytes(packed(changed))
    with pytest.raises(ep.FileFormatError, match=text) as caught:
        ep.History.load(path)
    assert str(path) in str(caught.value)


def test_every_flipped_bit_of_a_history_is_harmless_or_a_format_error(history):
    content = history.to_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for at in random.integers(0, 8 * len(content), 1500):
        harmed = bytearray(content)
        harmed[at // 8] ^= 1 << at % 8
        try:
            again = ep.History.from_bytes(bytes(harmed))
        except ep.FileFormatError:
            refused += 1
            continue
        assert repr(again)
        assert again._repr_html_()
        assert all(len(again[name]) == again.epochs_done for name in again)
    assert refused > 500


def test_histories_of_objects_are_not_unpickled(tmp_path, history):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    file = io.BytesIO()
    np.savez(file, allow_pickle=True, **parts(history) | {"steps": np.array([Evil()], object)})
    with pytest.raises(ep.FileFormatError, match="plain values"):
        ep.History.from_bytes(file.getvalue())
    assert not (tmp_path / "ran").exists()


def test_a_small_history_unpacks_to_little(tmp_path, history):
    """A file of under 1 MB would unpack to 800 MB, and is refused before that."""
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in parts(history).items():
            if name != "batches":
                with archive.open(f"{name}.npy", "w") as file:
                    np.lib.format.write_array(file, array)
        with archive.open("batches.npy", "w") as file:
            head = {"descr": "<f8", "fortran_order": False, "shape": (4, 25_000_000)}
            np.lib.format.write_array_header_1_0(file, head)
            for _ in range(800):
                file.write(bytes(1_000_000))
    assert path.stat().st_size < 1_000_000
    code = """
        try:
            ep.History.load(sys.argv[1])
            raise SystemExit("accepted")
        except ep.FileFormatError as error:
            assert "would unpack to" in str(error), error
        """
    assert peak(code, str(path)) < 50_000


def test_a_long_history_of_equal_losses_can_be_loaded_again(tmp_path):
    """Zeros compress by more than the reader allows, so the file is written uncompressed."""
    long = ep.History(per_epoch=1000)
    steps = 4_000_000
    long.add_steps(np.zeros(steps), np.zeros(steps), np.zeros(steps))
    long.save(tmp_path / "long.npz")
    assert ep.History.load(tmp_path / "long.npz").steps_done == steps


def test_a_small_packed_idx_file_unpacks_to_little(tmp_path):
    path = tmp_path / "images.gz"
    with gzip.open(path, "wb") as file:
        file.write(struct.pack(">HBB3I", 0, 8, 3, 800, 1000, 1000))
        for _ in range(800):
            file.write(bytes(1_000_000))
    code = """
        try:
            ep.datasets.read_idx(sys.argv[1])
            raise SystemExit("accepted")
        except ValueError as error:
            assert "gunzip images.gz" in str(error), error
        """
    assert path.stat().st_size < 1_000_000
    assert peak(code, str(path)) < 100_000  # limit: 16 MiB plus 64 times the file size


# ---- states --------------------------------------------------------------------------------------


@quiet
def test_every_flipped_bit_of_a_state_is_harmless_or_changes_nothing(tmp_path):
    path, trainer, whole = tmp_path / "state.safetensors", make(), make()
    fit(whole, epochs=3)
    fit(trainer, epochs=3, until=2, callbacks=[ep.EarlyStopping("loss", restore=True)])
    trainer.save(path)
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    victim = make()
    victim.restore(path)
    random = np.random.default_rng(0)
    # Half of the changed bits are in the header, where changes have the largest effect.
    places = np.concatenate(
        [random.integers(0, 8 * (8 + size), 300), random.integers(0, 8 * len(content), 300)]
    )
    refused = 0
    for at in places:
        harmed = bytearray(content)
        harmed[at // 8] ^= 1 << at % 8
        path.write_bytes(harmed)
        before, facts = victim.network.copy(), repr(victim)
        run_before, history_before = victim._run, victim.history
        try:
            victim.restore(path)
        except (ep.FileFormatError, ValueError):
            refused += 1
            assert repr(victim) == facts
            assert victim._run is run_before
            assert victim.history is history_before
            assert all(np.array_equal(before[n], victim.network[n]) for n in before)
    assert refused > 200
    path.write_bytes(content)
    victim.restore(path)
    victim.resume(((xy := _data())[0], xy[1]), progress=False)
    whole2 = make()
    fit(whole2, epochs=3)
    same(victim, whole2)


def _data():
    from trainers import data

    return data()
