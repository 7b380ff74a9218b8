"""Download data sets once with pooch, verify them, and keep them in a folder.

evoprune.datasets reads the files; scikit-learn handles OpenML.
"""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

import evoprune as ep
from evoprune.bridges.extras import require

__all__ = ["fetch"]

# Name -> base address, {file: checksum}.
SOURCES: dict[str, tuple[str, dict[str, str]]] = {
    "fashion_mnist": (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte.gz": "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "md5:25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "md5:bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "md5:bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
    "cifar10": (
        "https://www.cs.toronto.edu/~kriz/",
        {"cifar-10-binary.tar.gz": "md5:c32a1d4ab5d03f1284b67883e8d87530"},
    ),
    "emnist": (
        "https://biometrics.nist.gov/cs_links/EMNIST/",
        {"gzip.zip": "md5:58c8d27c78d21e728a6bc7b3cc06412e"},
    ),
}
SPLITS = ("balanced", "byclass", "bymerge", "digits", "letters", "mnist")


def fetch(
    name: str | int,
    *,
    split: str = "balanced",
    cache: str | PathLike[str] | None = None,
) -> tuple[ep.datasets.Dataset, ep.datasets.Dataset]:
    """Download a data set, or read it from the cache of an earlier call.

    Args:
        name: "fashion_mnist" (30 MB), "cifar10" (170 MB), "emnist" (560 MB), or the number of a
            data set of OpenML, which is split 4 to 1 at random.
        split: the split of EMNIST: balanced, byclass, bymerge, digits, letters or mnist.
        cache: the folder for downloads. If None, it is the value of the environment variable
            EVOPRUNE_CACHE if that is set, otherwise `evoprune` in the user's cache folder (for
            OpenML, scikit-learn's data folder).

    Returns:
        Training and test set.

    Raises:
        ModuleNotFoundError: pooch (for OpenML, scikit-learn) is not installed.
        ConnectionError: a download failed; the message names the folder for files copied by hand.
        ValueError: no such data set, or a file has the wrong checksum.
    """
    if isinstance(name, int) and not isinstance(name, bool):
        return _openml(name, cache)
    if name not in SOURCES:
        known = ", ".join(SOURCES)
        raise ValueError(f"fetch: expected {known} or a number of OpenML, got {name!r}")
    if split not in SPLITS:
        raise ValueError(f"fetch: split: expected one of {', '.join(SPLITS)}, got {split!r}")
    folder, files = _downloaded(str(name), cache)
    if name == "fashion_mnist":
        return ep.datasets.fashion_mnist(folder)
    if name == "cifar10":
        return ep.datasets.cifar10(Path(files[0]).parent)
    return _emnist([Path(file) for file in files], split)


def _downloaded(name: str, cache: str | PathLike[str] | None) -> tuple[Path, list[str]]:
    """Return the folder of a data set and its files, unpacked from archives."""
    pooch = require("pooch", "data", "fetch")
    address, registry = SOURCES[name]
    store = pooch.create(
        path=pooch.os_cache("evoprune") if cache is None else cache,
        base_url=address,
        registry=registry,
        env="EVOPRUNE_CACHE" if cache is None else None,
        retry_if_failed=1,
    )
    store.path = Path(store.path) / name
    files: list[str] = []
    for file in registry:
        unpack = None
        if file.endswith(".tar.gz"):
            unpack = pooch.Untar()
        elif file.endswith(".zip"):
            unpack = pooch.Unzip()
        try:
            found = store.fetch(file, processor=unpack)
        except OSError as error:  # includes the errors of requests
            raise ConnectionError(
                f"fetch: {store.get_url(file)} could not be downloaded ({type(error).__name__}); "
                f"without a network, put {file} into {store.path}"
            ) from error
        files += [found] if isinstance(found, str) else sorted(found)
    return store.path, files


def _emnist(files: list[Path], split: str) -> tuple[ep.datasets.Dataset, ep.datasets.Dataset]:
    """Read a split of EMNIST, whose images are stored transposed."""
    by_name = {file.name: file for file in files}
    parts = []
    for part in ("train", "test"):
        stem = f"emnist-{split}-{part}"
        images = ep.datasets.read_idx(by_name[f"{stem}-images-idx3-ubyte.gz"], 0x803)
        labels = ep.datasets.read_idx(by_name[f"{stem}-labels-idx1-ubyte.gz"], 0x801)
        parts.append((np.ascontiguousarray(images.swapaxes(1, 2)), labels))
    first = int(parts[0][1].min())  # the split "letters" numbers its classes from 1
    lines = by_name[f"emnist-{split}-mapping.txt"].read_text().splitlines()
    classes = [chr(int(line.split()[1])) for line in lines if line.strip()]
    levels = np.bincount(parts[0][0].ravel(), minlength=256) / parts[0][0].size
    mean = float(levels @ np.arange(256))
    deviation = float(np.sqrt(levels @ (np.arange(256) - mean) ** 2))
    train, test = (
        ep.datasets.Dataset(
            x,
            y - np.uint8(first),
            name=f"emnist-{split}/{part}",
            shape=(*x.shape[1:], 1),
            classes=classes,
            shift=mean,
            scale=1 / deviation,
        )
        for part, (x, y) in zip(("train", "test"), parts, strict=True)
    )
    return train, test


def _openml(
    number: int, cache: str | PathLike[str] | None
) -> tuple[ep.datasets.Dataset, ep.datasets.Dataset]:
    library: Any = require("sklearn.datasets", "sklearn", "fetch")
    try:
        found = library.fetch_openml(
            data_id=number,
            data_home=cache or os.environ.get("EVOPRUNE_CACHE"),
            as_frame=True,
            parser="auto",
            n_retries=1,
        )
    except OSError as error:
        raise ConnectionError(
            f"fetch: data set {number} of OpenML could not be downloaded ({error}); what was "
            "downloaded once is read from the cache"
        ) from error
    words = [name for name in found.data if found.data[name].dtype.kind not in "iufb"]
    if words:
        raise ValueError(
            f"fetch: expected columns of numbers, got {', '.join(map(str, words))} in data set "
            f"{number} of OpenML; encode them first"
        )
    target = found.target
    numeric = target.dtype.kind in "iufb"
    data = ep.datasets.arrays(
        found.data.to_numpy(np.float32),
        target.to_numpy(np.float32)[:, None] if numeric else np.asarray(target, str),
        name=str(found.details.get("name", number)),
    )
    return data.split(0.2)
