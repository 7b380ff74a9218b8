"""Downloads of data sets, from a local server."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import pickle
import tarfile
import threading
import urllib.error
import zipfile
from functools import partial

import numpy as np
import pytest

pytest.importorskip("pooch")

import pooch

import evoprune as ep
from evoprune.bridges import fetch as bridge


def idx(array):
    head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return gzip.compress(head + array.astype(np.uint8).tobytes())


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Serve a folder; `publish(name)` registers the folder's files as those of a data set."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(pooch.get_logger(), "disabled", True)
    folder = tmp_path / "site"
    folder.mkdir()
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Handler, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def publish(name):
        sums = {
            file.name: "md5:" + hashlib.md5(file.read_bytes()).hexdigest()
            for file in sorted(folder.iterdir())
        }
        address = f"http://127.0.0.1:{server.server_port}/"
        monkeypatch.setitem(bridge.SOURCES, name, (address, sums))

    def close():
        server.shutdown()
        server.server_close()
        thread.join()

    folder_and_all = (folder, publish, asked, close)
    yield folder_and_all
    close()


def clothes(folder):
    rng = np.random.default_rng(0)
    parts = {}
    for part, n in (("train", 12), ("t10k", 5)):
        parts[part] = (rng.integers(0, 256, (n, 28, 28)), np.arange(n) % 10)
        for what, array in zip(("images-idx3", "labels-idx1"), parts[part], strict=True):
            (folder / f"{part}-{what}-ubyte.gz").write_bytes(idx(array))
    return parts


def test_a_data_set_is_downloaded_once(tmp_path, site):
    folder, publish, asked, close = site
    parts = clothes(folder)
    publish("fashion_mnist")
    train, _ = ep.datasets.fetch("fashion_mnist", cache=tmp_path / "cache")
    np.testing.assert_array_equal(train.x.reshape(-1, 28, 28), parts["train"][0])
    np.testing.assert_array_equal(train.y, parts["train"][1])
    assert train.classes[9] == "Ankle boot"
    assert len(asked) == 4
    close()  # the server is down
    _, test = ep.datasets.fetch("fashion_mnist", cache=tmp_path / "cache")
    np.testing.assert_array_equal(test.x.reshape(-1, 28, 28), parts["t10k"][0])


def test_without_a_network_the_error_says_where_files_go(tmp_path, site):
    folder, publish, _, close = site
    clothes(folder)
    publish("fashion_mnist")
    close()
    with pytest.raises(ConnectionError, match="t10k-images-idx3-ubyte.gz into .*cache"):
        ep.datasets.fetch("fashion_mnist", cache=tmp_path / "cache")


def test_a_file_with_another_checksum_is_refused(tmp_path, site):
    folder, publish, _, _ = site
    clothes(folder)
    publish("fashion_mnist")
    clothes_of_another = np.ones((12, 28, 28))
    (folder / "train-images-idx3-ubyte.gz").write_bytes(idx(clothes_of_another))
    with pytest.raises(ValueError, match="hash .* does not match"):
        ep.datasets.fetch("fashion_mnist", cache=tmp_path / "cache")


def test_cifar10_comes_in_one_archive(tmp_path, site):
    folder, publish, _, _ = site
    rng = np.random.default_rng(0)
    inside = tmp_path / "cifar-10-batches-bin"
    inside.mkdir()
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    records = {n: rng.integers(0, 10, (3, 3073)).astype(np.uint8) for n in names}
    for name, content in records.items():
        (inside / name).write_bytes(content.tobytes())
    with tarfile.open(folder / "cifar-10-binary.tar.gz", "w:gz") as archive:
        archive.add(inside, inside.name)
    publish("cifar10")
    train, test = ep.datasets.fetch("cifar10", cache=tmp_path / "cache")
    assert (len(train), len(test)) == (15, 3)
    red = records["data_batch_1.bin"][0, 1 : 1 + 1024].reshape(32, 32)
    np.testing.assert_array_equal(train.x[0].reshape(32, 32, 3)[..., 0], red)


def test_the_letters_of_emnist_are_upright(tmp_path, site):
    folder, publish, _, _ = site
    rng = np.random.default_rng(0)
    images = {part: rng.integers(0, 256, (8, 28, 28)) for part in ("train", "test")}
    labels = np.array([1, 2, 3, 1, 2, 3, 1, 2])
    with zipfile.ZipFile(folder / "gzip.zip", "w") as archive:
        for part, pixels in images.items():
            stem = f"gzip/emnist-letters-{part}"
            archive.writestr(f"{stem}-images-idx3-ubyte.gz", idx(pixels))
            archive.writestr(f"{stem}-labels-idx1-ubyte.gz", idx(labels))
        archive.writestr("gzip/emnist-letters-mapping.txt", "1 65 97\n2 66 98\n3 67 99\n")
    publish("emnist")
    train, test = ep.datasets.fetch("emnist", split="letters", cache=tmp_path / "cache")
    assert train.classes == ("A", "B", "C")
    np.testing.assert_array_equal(train.y, labels - 1)
    np.testing.assert_array_equal(test.x[3].reshape(28, 28), images["test"][3].T)
    assert train.shift == pytest.approx(images["train"].mean())
    assert train.scale == pytest.approx(1 / images["train"].std())


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="expected fashion_mnist, cifar10, emnist"):
        ep.datasets.fetch("imagenet")
    with pytest.raises(ValueError, match="split: expected one of balanced"):
        ep.datasets.fetch("emnist", split="vowels")


def test_openml_uses_scikit_learn(monkeypatch):
    sklearn = pytest.importorskip("sklearn.datasets")
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": np.arange(10.0), "b": np.arange(10) % 3})
    kinds = pandas.Series(["x", "y"] * 5, dtype="category")
    found = sklearn._base.Bunch(data=frame, target=kinds, details={"name": "toy"})
    monkeypatch.setattr(sklearn, "fetch_openml", lambda **_: found)
    train, test = ep.datasets.fetch(61)
    assert (len(train), len(test)) == (8, 2)
    assert train.classes == ("x", "y")
    np.testing.assert_array_equal(train.x[:, 0] % 2, train.y)
    found.data = frame.assign(c=["red"] * 10)
    with pytest.raises(ValueError, match="columns of numbers, got c"):
        ep.datasets.fetch(61)


def test_openml_is_kept_in_the_cache_and_its_errors_are_those_of_a_connection(
    monkeypatch, tmp_path
):
    sklearn = pytest.importorskip("sklearn.datasets")
    homes = []

    def refused(*, data_home, **_):
        homes.append(data_home)
        raise urllib.error.URLError("Connection refused")

    monkeypatch.setattr(sklearn, "fetch_openml", refused)
    monkeypatch.setenv("EVOPRUNE_CACHE", str(tmp_path))
    for cache in (None, tmp_path / "other"):
        with pytest.raises(ConnectionError, match="61 of OpenML could not be .*refused"):
            ep.datasets.fetch(61, cache=cache)
    assert homes == [str(tmp_path), tmp_path / "other"]


# ---- formats -------------------------------------------------------------------------------------


def test_idx_files_of_colors(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 4, 5, 3))
    for part in ("train", "t10k"):
        (tmp_path / f"{part}-images-idx4-ubyte.gz").write_bytes(idx(images))
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(np.arange(6)))
    train, _ = ep.datasets.idx(tmp_path)
    assert train.shape == (4, 5, 3)
    np.testing.assert_array_equal(train.x.reshape(images.shape), images)
    assert train.shift == pytest.approx(images.mean())


def pickled_cifar(folder, protocol=2):
    folder.mkdir()
    rng = np.random.default_rng(0)
    content = {}
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        pixels = rng.integers(0, 256, (2, 3072)).astype(np.uint8)
        content[name] = {b"data": pixels, b"labels": [3, 7], b"batch_label": name.encode()}
        (folder / name).write_bytes(pickle.dumps(content[name], protocol))
    return content


@pytest.mark.parametrize("protocol", [2, 4])
def test_cifar10_in_the_python_version(tmp_path, protocol):
    content = pickled_cifar(tmp_path / "cifar-10-batches-py", protocol)
    train, test = ep.datasets.cifar10(tmp_path)
    assert train.y.tolist() == [3, 7] * 5
    image = test.x[1].reshape(32, 32, 3)
    pixels = content["test_batch"][b"data"][1].reshape(3, 32, 32)
    for color in range(3):
        np.testing.assert_array_equal(image[..., color], pixels[color])


class Harm:
    def __reduce__(self):
        return (print, ("executed",))


def test_a_pickle_that_names_other_things_is_refused(tmp_path, capsys):
    pickled_cifar(tmp_path / "cifar")
    file = tmp_path / "cifar" / "data_batch_2"
    for harm, text in (
        ({b"data": Harm(), b"labels": []}, "names .*builtin.*print"),
        ({b"data": np.zeros((2, 3072)), b"labels": [1, 2]}, "expected uint8 of 2 x 3072"),
        ({b"data": np.zeros((1, 3072), np.uint8), b"labels": [12]}, "labels 0 to 9"),
        ([1], "not a batch of CIFAR-10"),
    ):
        file.write_bytes(pickle.dumps(harm, 2))
        with pytest.raises(ValueError, match=f"data_batch_2.*{text}"):
            ep.datasets.cifar10(tmp_path / "cifar")
    assert capsys.readouterr().out == ""
