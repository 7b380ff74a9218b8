"""Data sets: the bundled ones, reading files, errors, and that arrays are not copied."""

from __future__ import annotations

import builtins
import gzip
import hashlib
import re
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import evoprune
from evoprune import datasets

BUNDLED = Path(evoprune.__file__).parent / "data"


def idx_bytes(array, code=0x08, magic=None):
    array = np.asarray(array)
    head = struct.pack(">I", code << 8 | array.ndim if magic is None else magic)
    return head + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(folder, *, n=6, packed=True, **replace):
    """Write a small folder like MNIST's; `train_images=` and so on replace the bytes of a file."""
    rng = np.random.default_rng(0)
    for part, count in (("train", n), ("t10k", 4)):
        images = rng.integers(0, 256, (count, 3, 2), np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 4
        for kind, dims, array in (("images", 3, images), ("labels", 1, labels)):
            content = replace.get(f"{part}_{kind}", idx_bytes(array))
            if packed:
                content = gzip.compress(content)
            end = ".gz" if packed else ""
            (folder / f"{part}-{kind}-idx{dims}-ubyte{end}").write_bytes(content)
    return folder


# ---------------------------------------------------------------- MNIST


def test_mnist_is_whole_and_read_only(mnist):
    train, test = mnist
    assert (len(train), len(test)) == (60000, 10000)
    assert train.x.shape == (60000, 784)
    assert train.x.dtype == test.y.dtype == np.uint8
    assert train.shape == (28, 28, 1)
    assert train.classes == tuple("0123456789")
    assert np.bincount(train.y).tolist()[:3] == [5923, 6742, 5958]
    assert np.bincount(test.y).tolist()[-3:] == [1028, 974, 1009]
    assert not train.x.flags.writeable
    assert repr(train) == "Dataset('mnist/train', 60,000 x 28 x 28 x 1 uint8, 10 classes)"


def test_mnist_normalisation_is_that_of_its_training_pixels(mnist):
    train, test = mnist
    counts = np.bincount(train.x.ravel(), minlength=256)
    levels = np.arange(256)
    mean = counts @ levels / train.x.size
    std = np.sqrt(counts @ (levels - mean) ** 2 / train.x.size)
    assert train.shift == test.shift == pytest.approx(mean, rel=1e-15)
    assert train.scale == test.scale == pytest.approx(1 / std, rel=1e-14)
    x = train.scaled(slice(0, 1000))
    assert x.dtype == np.float32
    assert abs(x.mean()) < 0.02
    assert abs(x.std() - 1) < 0.02
    assert train.y[0] == 5


def test_mnist_files_have_the_stated_sums():
    table = re.findall(
        r"^\| (\S+gz) \| (\d+) \| (\w{64}) \| (\w{64}) \|",
        (BUNDLED / "SOURCE.md").read_text(),
        re.M,
    )
    assert len(table) == 4
    for name, size, packed, unpacked in table:
        content = (BUNDLED / name).read_bytes()
        assert len(content) == int(size)
        assert hashlib.sha256(content).hexdigest() == packed
        assert hashlib.sha256(gzip.decompress(content)).hexdigest() == unpacked


def test_mnist_loads_fast_and_once(mnist):
    code = "import time; from evoprune import datasets as d; t = time.process_time(); d.mnist(); "
    code += "print(time.process_time() - t)"
    seconds = min(
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        for _ in range(2)
    )
    assert seconds < 1
    start = time.process_time()
    again = datasets.mnist()
    assert time.process_time() - start < 0.05
    assert np.shares_memory(again[0].x, mnist[0].x)


def test_mnist_from_a_folder(mnist):
    train, _ = datasets.mnist(BUNDLED)
    assert not np.shares_memory(train.x, mnist[0].x)
    assert np.array_equal(train.x, mnist[0].x)


# ---------------------------------------------------------------- idx


@pytest.mark.parametrize("packed", [True, False])
def test_idx_folder(tmp_path, packed):
    train, test = datasets.idx(write_idx(tmp_path, packed=packed))
    assert train.name == f"{tmp_path.name}/train"
    assert train.shape == test.shape == (3, 2, 1)
    assert train.classes == ("0", "1", "2", "3")
    assert (len(train), len(test)) == (6, 4)
    x = train.scaled()
    assert x.mean() == pytest.approx(0, abs=1e-6)
    assert x.std() == pytest.approx(1, abs=1e-6)


def test_unpacked_idx_is_mapped_from_disk(tmp_path):
    array = datasets.read_idx(write_idx(tmp_path, packed=False) / "train-images-idx3-ubyte")
    base = array
    while not isinstance(base, np.memmap):
        base = base.base
    assert not array.flags.writeable


@pytest.mark.parametrize(
    ("code", "kind"), [(8, "u1"), (9, "i1"), (11, ">i2"), (12, ">i4"), (13, ">f4"), (14, ">f8")]
)
def test_idx_types_arrive_in_native_order(tmp_path, code, kind):
    array = np.arange(12).reshape(3, 4).astype(kind)
    path = tmp_path / "some.idx"
    path.write_bytes(idx_bytes(array, code))
    read = datasets.read_idx(path)
    assert read.dtype == np.dtype(kind).newbyteorder("=")
    assert np.array_equal(read, array)


def test_idx_errors_name_file_expected_and_got(tmp_path):
    name = "train-images-idx3-ubyte.gz"

    def failing(content, match, error=ValueError):
        (write_idx(tmp_path) / name).write_bytes(content)
        with pytest.raises(error, match=match) as caught:
            datasets.idx(tmp_path)
        assert name in str(caught.value)

    good = idx_bytes(np.zeros((6, 3, 2), np.uint8))
    packed = gzip.compress(np.random.default_rng(1).bytes(4096))
    failing(b"", "expected a gzip file .*got nothing")
    failing(b"PK\3\4 zip", "expected a gzip file .*got 50 4b")
    failing(packed[: len(packed) // 2], "ends too early, after .* bytes")
    failing(packed[:40] + b"\xff" * 40 + packed[80:], "damaged|too early")
    failing(packed[:-8] + b"\0\0\0\0" + packed[-4:], "damaged.*CRC")
    failing(gzip.compress(b""), "expected an idx magic number .*got an empty file")
    failing(gzip.compress(b"%PDF-1.7"), "expected an idx magic number .*got 25 50 44 46")
    failing(gzip.compress(good[:6]), "expected a header of 16 bytes, got 6")
    failing(gzip.compress(good[:-1]), "expected 52 bytes for 6 x 3 x 2, got 51")
    failing(gzip.compress(good + b"!"), "expected 52 bytes for 6 x 3 x 2, got 53")
    failing(gzip.compress(idx_bytes(np.zeros(6, np.uint8))), "0x00000803, got 0x00000801")
    failing(gzip.compress(idx_bytes(np.zeros((0, 3, 2), np.uint8))), "expected images, got none")
    huge = struct.pack(">4I", 0x803, *[0xFFFFFFFF] * 3)
    failing(gzip.compress(huge), "expected 79228162458924105385300197391 bytes")


def test_idx_files_must_match(tmp_path):
    write_idx(tmp_path, train_labels=idx_bytes(np.zeros(5, np.uint8)))
    with pytest.raises(ValueError, match="train-labels.*expected 6 labels.*got 5"):
        datasets.idx(tmp_path)
    write_idx(tmp_path, t10k_images=idx_bytes(np.zeros((4, 2, 2), np.uint8)))
    with pytest.raises(ValueError, match=r"test images of \(3, 2\) pixels .*got \(2, 2\)"):
        datasets.idx(tmp_path)
    write_idx(tmp_path)
    with pytest.raises(ValueError, match="expected labels 0 to 1, got 3"):
        datasets.idx(tmp_path, classes=["cat", "dog"])
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match="t10k-labels-idx1-ubyte, .*found none"):
        datasets.idx(tmp_path)
    with pytest.raises(FileNotFoundError):
        datasets.fashion_mnist(tmp_path / "nowhere")


@pytest.mark.data
def test_fashion_mnist(data_root):
    train, test = datasets.fashion_mnist(data_root("fashion-mnist"))
    assert (len(train), len(test)) == (60000, 10000)
    assert np.bincount(train.y).tolist() == [6000] * 10
    assert train.classes[0] == "T-shirt/top"
    assert train.classes[9] == "Ankle boot"
    assert train.shift == pytest.approx(72.940, abs=5e-4)
    assert test.x.mean() == pytest.approx(73.147, abs=5e-4)


# ---------------------------------------------------------------- other readers


def test_digits():
    pytest.importorskip("sklearn")
    train, test = datasets.digits()
    assert (len(train), len(test)) == (1437, 360)
    assert train.shape == (8, 8, 1)
    assert train.scaled().max() == 1
    assert not set(train.table.rows) & set(test.table.rows)


def test_digits_says_what_to_install(monkeypatch):
    def no_sklearn(name, *args, _import=builtins.__import__, **kwargs):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return _import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_sklearn)
    with pytest.raises(ImportError, match=r"pip install 'evoprune\[sklearn\]'"):
        datasets.digits()


def test_cifar10(tmp_path):
    rng = np.random.default_rng(2)
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    records = rng.integers(0, 256, (6, 20, 3073), np.uint8)
    records[:, :, 0] %= 10
    for name, content in zip(names, records, strict=True):
        (folder / name).write_bytes(content.tobytes())
    train, test = datasets.cifar10(tmp_path)
    assert train.shape == test.shape == (32, 32, 3)
    assert (len(train), len(test)) == (100, 20)
    assert train.classes[3] == "cat"
    # The fifth record of batch 2: the label, then 1024 bytes each of red, green and blue.
    record = records[1, 4]
    image = train.x[24].reshape(32, 32, 3)
    assert train.y[24] == record[0]
    assert np.array_equal(image[5, 7], record[1:].reshape(3, 32, 32)[:, 5, 7])
    colours = train.scaled().reshape(-1, 3)
    assert np.allclose(colours.mean(0), 0, atol=1e-4)
    assert np.allclose(colours.std(0), 1, atol=1e-4)

    (folder / "test_batch.bin").write_bytes(records[5].tobytes()[:-1])
    with pytest.raises(ValueError, match=r"test_batch.bin: expected .* 3073 bytes, got 61459"):
        datasets.cifar10(tmp_path)
    (folder / "test_batch.bin").write_bytes(b"\x0b" * 3073)
    with pytest.raises(ValueError, match="labels 0 to 9, got 11"):
        datasets.cifar10(tmp_path)
    (folder / "data_batch_3.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"data_batch_3.bin"):
        datasets.cifar10(tmp_path)


# ---------------------------------------------------------------- text


def test_text_windows_are_views_and_targets_are_the_next_characters(tmp_path):
    content = "to be, or not to be: that is the question.\r\n" * 20
    path = tmp_path / "hamlet.txt"
    path.write_bytes(content.encode())
    text = datasets.text(path, context=8)
    train, validation = text
    assert text.decode(text.codes) == content
    assert text.vocabulary == "".join(sorted(set(content)))
    assert text.codes.dtype == np.uint8
    assert np.array_equal(text.encode(content), text.codes)
    assert len(text) == len(content) == 880
    assert len(train) == 792 - 8
    assert len(validation) == (88 - 8 - 1) // 8 + 1
    assert np.shares_memory(train.x, text.codes)
    assert np.shares_memory(train.y, text.codes)
    x, y = train.batch([17, 100])
    assert text.decode(x[0]) == content[17:25]
    assert text.decode(y[0]) == content[18:26]
    assert text.decode(validation.batch([1])[0][0]) == content[800:808]
    assert train.classes == tuple(text.vocabulary)
    assert (
        repr(text) == f"Text('hamlet', 880 characters, {len(text.vocabulary)} different, context 8)"
    )
    assert len(datasets.text(path, context=8, stride=8).train) == 98


def test_text_of_many_characters_and_what_is_refused(tmp_path):
    content = "".join(chr(0x4E00 + i) for i in range(400)) + "😀<&" * 40
    path = tmp_path / "many.txt"
    path.write_text(content, encoding="utf-8")
    text = datasets.text(path, context=10)
    assert text.codes.dtype == np.int32
    assert text.decode(text.codes) == content
    assert "<script" not in datasets.Text("<script>" * 99)._repr_html_()
    with pytest.raises(ValueError, match=r"character 'z' at 1 is not among the 403"):
        text.encode("😀z")
    with pytest.raises(ValueError, match="codes: expected numbers below 403, got 403 to 403"):
        text.decode([403])
    with pytest.raises(ValueError, match="more than 64 characters"):
        datasets.text(path, context=64)
    with pytest.raises(ValueError, match=r"held_out: .* between 0 and 1, got 1"):
        datasets.text(path, held_out=1)
    with pytest.raises(ValueError, match="expected 1 or more, got 0, 1"):
        datasets.text(path, context=0)
    path.write_bytes(b"\xff\xfe\0")
    with pytest.raises(ValueError, match=r"many.txt: expected UTF-8"):
        datasets.text(path)


@pytest.mark.data
def test_tiny_shakespeare(data_root):
    text = datasets.text(data_root("tiny-shakespeare") / "input.txt")
    assert len(text) == 1115394
    assert len(text.vocabulary) == 65
    assert len(text.train) == 1003854 - 64 + 1 - 1  # the last character has no next one
    assert text.train.y.shape == (1003790, 64)
    assert sum(len(part.x) for part in text) < 1.02e6


# ---------------------------------------------------------------- Dataset


def small(n=20, **options):
    x = np.arange(n * 6, dtype=np.float32).reshape(n, 2, 3)
    return datasets.arrays(x, np.arange(n) % 4, name="small", **options)


def test_arrays_are_not_copied(tmp_path):
    x, y = np.zeros((5, 2, 3), np.float64), np.zeros((5, 2))
    data = datasets.arrays(x, y)
    assert np.shares_memory(data.x, x)
    assert data.y is y
    assert data.shape == (2, 3)
    assert data.classes is None
    assert repr(data) == "Dataset('data', 5 x 2 x 3 float64, targets (2,))"
    mapped = np.memmap(tmp_path / "x", np.uint8, "w+", shape=(5, 4))
    assert np.shares_memory(datasets.arrays(mapped, y).x, mapped)
    mask = np.ones((5, 4), bool)
    assert np.shares_memory(datasets.arrays(mask, y).x, mask)


def test_split_and_subset_store_row_numbers_only():
    data = small()
    rest, held = data.split(5, seed=3)
    assert (len(rest), len(held)) == (15, 5)
    assert rest.table.x is data.table.x
    rows = rest.table.rows
    assert held.table.rows.dtype == np.int64
    assert sorted([*rows, *held.table.rows]) == list(range(20))
    assert np.array_equal(rows, data.split(5, seed=3)[0].table.rows)
    assert not np.array_equal(rows, data.split(5, seed=4)[0].table.rows)
    assert len(data.split(0.25)[1]) == 5
    assert held.name == "small (validation)"
    nested = rest.subset(slice(3, 9)).subset([0, -1])
    assert np.array_equal(nested.table.rows, rows[[3, 8]])
    assert np.array_equal(nested.batch([1])[0][0], data.x[rows[8]])
    assert len(data.subset(data.y == 2)) == 5
    for n in (0, 20, -1, 10**9, 1.0, 20.0, 1e9):
        with pytest.raises(ValueError, match="1 to 19"):
            data.split(n)
    with pytest.raises(ValueError, match=r"n: expected a number from 0 to 1, got 1\.5"):
        data.split(1.5)
    with pytest.raises(ValueError, match=r"got 0\.01, which of 20 samples is 0"):
        data.split(0.01)
    for indices, match in [
        ([20], "expected numbers below 20, got 20 to 20"),
        ([-21], "expected numbers below 20, got -21"),
        ([0.5], "whole numbers in one dimension, got float64"),
        ([[1]], r"got int64 \(1, 1\)"),
        ([True], r"mask of shape \(20,\), got \(1,\)"),
        ([], "at least one sample"),
        (slice(5, 5), "at least one sample"),
    ]:
        with pytest.raises(ValueError, match=match):
            data.subset(indices)


def test_batch_is_raw_and_a_copy():
    data = small(shift=2.0, scale=[1, 1, 1, 1, 1, 0.5])
    x, y = data.batch([1, 0])
    assert np.array_equal(x[1], [0, 1, 2, 3, 4, 5])
    assert y.tolist() == [1, 0]
    assert np.array_equal(data.scaled([1, 0])[1], np.float32([-2, -1, 0, 1, 2, 1.5]))
    plain = small()
    plain.batch()[0][:] = -1
    assert plain.x[0, 1] == 1


def test_normalize():
    rng = np.random.default_rng(5)
    x = rng.normal([3, -50, 7], [2, 0.1, 0], (4000, 3))
    for data in (
        datasets.arrays(x, x, normalize="feature"),
        datasets.arrays(x.astype(np.float32), x, normalize="feature"),
    ):
        inputs = data.scaled()
        assert np.allclose(inputs.mean(0), 0, atol=2e-3)
        assert np.allclose(inputs.std(0), [1, 1, 0], atol=1e-3)
        assert data.scale[2] == 1  # a constant feature is shifted to 0, not scaled
    inputs = datasets.arrays(x, x, normalize="global").scaled()
    assert inputs.mean() == pytest.approx(0, abs=1e-5)
    assert inputs.std() == pytest.approx(1, abs=1e-5)
    x[7, 1] = np.nan
    with pytest.raises(ValueError, match="x: expected finite numbers, got nan in row 7, column 1"):
        datasets.arrays(x, x, normalize="feature")
    with pytest.raises(ValueError, match="expected one of none, global, feature, got 'unit'"):
        datasets.arrays(x, x, normalize="unit")


def test_classes_are_named():
    x = np.zeros((4, 2))
    animals = datasets.arrays(x, ["dog", "cat", "dog", "eel"])
    assert animals.classes == ("cat", "dog", "eel")
    assert animals.y.tolist() == [1, 0, 1, 2]
    assert datasets.arrays(x, np.array(["b", "a", "a", "b"], object)).classes == ("a", "b")
    assert datasets.arrays(x, [0, 2, 1, 2]).classes == ("0", "1", "2")
    assert datasets.arrays(x, [0.0, 2, 1, 2]).classes is None


@pytest.mark.parametrize(
    ("x", "y", "options", "error", "match"),
    [
        (np.zeros(5), np.zeros(5), {}, ValueError, r"x: expected \(samples, features...\), got"),
        (np.zeros((5, 2)), np.zeros(4), {}, ValueError, r"y: expected 5 targets.*got shape \(4,\)"),
        (np.zeros((5, 2)), 3, {}, ValueError, r"y: expected 5 targets.*got shape \(\)"),
        (np.zeros((0, 2)), np.zeros(0), {}, ValueError, "x: expected at least one number"),
        (np.zeros((2, 0)), np.zeros(2), {}, ValueError, "x: expected at least one number"),
        ([["a"]], [0], {}, TypeError, "x: expected real numbers, got text"),
        (np.zeros((1, 2), complex), [0], {}, TypeError, "got complex numbers"),
        ([[1]], [None], {}, ValueError, r"y: .* a missing value \(None\) in row 0"),
        (np.zeros((5, 6)), np.zeros(5), {"shape": (2, 2)}, ValueError, "expected 6 features, got"),
        ([[1.0]], [0], {"shift": np.nan}, ValueError, "shift: expected finite"),
        ([[1.0]], [0], {"scale": [1, 2]}, ValueError, r"scale: .* shape \(1,\), got \(2,\)"),
    ],
)
def test_invalid_data_sets_are_refused(x, y, options, error, match):
    with pytest.raises(error, match=match):
        datasets.arrays(x, y, **options)


def test_html_shows_images_and_escapes(mnist):
    page = mnist[0]._repr_html_()
    assert "<b>mnist/train</b> 60,000 x 28 x 28 x 1 uint8" in page
    assert "data:image/png;base64," in page
    assert "<script" not in datasets.arrays([[1]], [0], name="<script>")._repr_html_()
    assert "img" not in small()._repr_html_()
    flat = datasets.arrays(np.zeros((2, 4, 4, 3)), [0, 1])
    assert "img" in flat.subset([1])._repr_html_()
    assert "img" not in datasets.arrays(np.full((2, 4, 4, 3), np.nan), [0, 1])._repr_html_()


def test_thumbnails_are_a_readable_png(mnist):
    image = pytest.importorskip("matplotlib.image")
    from base64 import b64decode
    from io import BytesIO

    found = re.search(r"base64,([^\"]+)", mnist[0]._repr_html_())
    pixels = image.imread(BytesIO(b64decode(found[1])), format="png")
    assert pixels.shape == (28, 280)
    assert np.array_equal(np.round(pixels[:, 28:56] * 255), mnist[0].x[1].reshape(28, 28))
