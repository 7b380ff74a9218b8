"""Scores of evoprune's scikit-learn estimators with defaults, and of scikit-learn's own networks.

The estimators without selection ("dense", pressure 0) are also shown. All estimators use the same
five folds, scaled features and one thread. The defaults were chosen on the data sets of `tuning()`,
with other seeds; the data sets of `reported()` were only used afterwards.

    python experiments/sklearn_scores.py             # the sets of reported(), into results/
    python experiments/sklearn_scores.py --tuning    # the sets of tuning(), printed only

EVOPRUNE_DATA names the folder that has fsdd/ and tiny-shakespeare/, for spoken digits and text.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import statistics
import sys
import time
import warnings
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
from sklearn import datasets
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import evoprune as ep

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import common

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "sklearn_scores.json"
PAGE = HERE.parent / "docs" / "figures" / "sklearn_scores.md"


def california(samples, seed):
    """Make a synthetic data set like California housing: 8 skewed features, a noisy target."""
    rng = np.random.default_rng(seed)
    income = rng.lognormal(1.2, 0.45, samples)
    age = rng.uniform(1, 52, samples)
    rooms = rng.lognormal(1.6, 0.3, samples)
    bedrooms = rng.lognormal(0.05, 0.15, samples)
    population = rng.lognormal(7, 0.7, samples)
    household = rng.lognormal(1.05, 0.25, samples)
    latitude, longitude = rng.uniform(32.5, 42, samples), rng.uniform(-124.3, -114.3, samples)
    coast = np.exp(-np.abs(longitude + 124 - (42 - latitude) * 0.75) / 1.5)
    value = (
        0.45 * income
        + 1.6 * coast
        + 0.01 * age
        + 0.12 * rooms * coast
        - 0.35 * np.log(household)
        + 0.4 * np.sin(latitude) * np.cos(longitude / 2)
    )
    value = np.clip(value + rng.normal(0, 0.35, samples), 0.15, 5)
    x = np.column_stack([income, age, rooms, bedrooms, population, household, latitude, longitude])
    return x, value


def spoken_digits(folder, bands=16, frames=16):
    """Read the Free Spoken Digit Dataset: log energies of `bands` bands in `frames` time frames."""
    with np.load(folder / "fsdd" / "fsdd.npz") as file:
        samples, offsets, digits = file["samples"], file["offsets"], file["label"]
        hertz = np.fft.rfftfreq(256, 1 / file["rate"])
    edges = np.geomspace(100, 4000, bands + 2)
    rise = (hertz - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - hertz) / np.diff(edges)[1:, None]
    triangles = np.clip(np.minimum(rise, fall), 0, None)
    x = np.empty((len(digits), frames * bands))
    for row, (start, stop) in enumerate(pairwise(offsets)):
        take = samples[start:stop] / 32768
        places = np.linspace(0, len(take) - 256, 2 * frames).astype(int)
        windows = take[places[:, None] + np.arange(256)] * np.hanning(256)
        energies = np.abs(np.fft.rfft(windows)) ** 2 @ triangles.T
        logs = np.log(energies + 1e-6).reshape(frames, 2, bands).mean(1)
        x[row] = (logs - logs.mean()).ravel()
    return x, digits.astype(int)


def speeches(folder, speakers=8, words=500):
    """Return word counts (inputs) of speeches of at least 20 words, and the speakers (labels)."""
    text = (folder / "tiny-shakespeare" / "input.txt").read_text()
    parts = re.findall(r"^([A-Z][A-Za-z ]+):\n(.+?)(?:\n\n|\Z)", text, re.M | re.S)
    named = [name for name, _ in Counter(name for name, _ in parts).most_common(speakers)]
    spoken = [(name, re.findall(r"[a-z']+", said.lower())) for name, said in parts if name in named]
    spoken = [(name, said) for name, said in spoken if len(said) >= 20]
    common = Counter(word for _, said in spoken for word in set(said)).most_common(words)
    counts = [Counter(said) for _, said in spoken]
    x = np.log1p([[count[word] for word, _ in common] for count in counts])
    return x, np.array([named.index(name) for name, _ in spoken])


def reported():
    """Yield the data sets whose scores the documentation shows."""
    for name in ("iris", "wine", "breast_cancer", "digits"):
        yield name, *getattr(datasets, f"load_{name}")(return_X_y=True), True
    yield "diabetes", *datasets.load_diabetes(return_X_y=True), False
    if folder := os.environ.get("EVOPRUNE_DATA"):
        yield "spoken digits", *spoken_digits(Path(folder)), True
        yield "speeches", *speeches(Path(folder)), True
    yield "california-like", *california(20_000, 1), False


def tuning():
    """Yield the data sets on which the defaults were chosen."""
    for n, features, informative, classes, noise in (
        (150, 6, 4, 3, 0.02),
        (200, 20, 5, 2, 0.05),
        (600, 30, 12, 4, 0.05),
        (2500, 40, 20, 5, 0.02),
        (10000, 20, 12, 3, 0.02),
    ):
        x, y = datasets.make_classification(
            n,
            features,
            n_informative=informative,
            n_classes=classes,
            n_clusters_per_class=2,
            flip_y=noise,
            class_sep=1.5,
            random_state=77,
        )
        yield f"classes-{n}", x, y, True
    yield "moons", *datasets.make_moons(400, noise=0.2, random_state=7), True
    blobs = datasets.make_blobs(160, 5, centers=4, cluster_std=3.0, random_state=7)
    yield "blobs", *blobs, True
    digits = ep.datasets.mnist()[0].subset(slice(2000))
    x, y = digits.x[digits.rows], digits.y[digits.rows]
    yield "mnist-2000", x.reshape(-1, 14, 2, 14, 2).mean((2, 4)).reshape(len(x), -1), y, True
    yield "friedman1-300", *datasets.make_friedman1(300, noise=1.0, random_state=7), False
    yield "friedman2-400", *datasets.make_friedman2(400, noise=100.0, random_state=7), False
    yield "friedman1-8000", *datasets.make_friedman1(8000, noise=1.0, random_state=7), False
    x = np.random.default_rng(7).normal(size=(15000, 6))
    y = np.sin(2 * x[:, 0]) * x[:, 1] + np.cos(3 * x[:, 2]) + np.abs(x[:, 3])
    yield "waves-15000", x, y + np.random.default_rng(8).normal(0, 0.4, len(x)), False
    x, y = datasets.make_regression(400, 15, n_informative=6, noise=90.0, random_state=7)
    yield "linear-400", x, y, False


def estimators(is_classifier, seed):
    """Return our estimator, the same without selection, and scikit-learn's, all with defaults."""
    if is_classifier:
        return (
            ep.EvoPruneClassifier(random_state=seed),
            ep.EvoPruneClassifier(pressure=0.0, random_state=seed),
            make_pipeline(StandardScaler(), MLPClassifier(random_state=seed)),
        )
    peer = make_pipeline(StandardScaler(), MLPRegressor(random_state=seed))
    return (
        ep.EvoPruneRegressor(random_state=seed),
        ep.EvoPruneRegressor(pressure=0.0, random_state=seed),
        TransformedTargetRegressor(peer, transformer=StandardScaler()),
    )


def measured(name, x, y, is_classifier, seeds):
    """Return the results of each estimator over five folds and `seeds`, compared with dense.

    Results are mean score, median processor seconds of `fit`, and mean number of living neurons.
    `minus_dense` is the mean difference between our score and that of the dense network with the
    same fold and seed, and the standard error of that mean over seeds.
    """
    rows = {"evoprune": [], "dense": [], "scikit-learn": []}
    for seed in seeds:
        kind = StratifiedKFold if is_classifier else KFold
        for train, test in kind(5, shuffle=True, random_state=seed).split(x, y):
            for who, estimator in zip(rows, estimators(is_classifier, seed), strict=True):
                model = clone(estimator)
                begin = time.process_time()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ConvergenceWarning)
                    warnings.simplefilter("ignore", ep.NothingCanDie)
                    model.fit(x[train], y[train])
                seconds = time.process_time() - begin
                alive = sum(model.network_.alive.values()) if who != "scikit-learn" else 100
                rows[who].append((model.score(x[test], y[test]), seconds, alive))
    result = {"data": name, "samples": len(x), "features": x.shape[1]}
    for who, folds in rows.items():
        scores, seconds, alive = zip(*folds, strict=True)
        result[who] = {
            "score": statistics.mean(scores),
            "seconds": statistics.median(seconds),
            "alive": statistics.mean(alive),
        }
    pairs = zip(rows["evoprune"], rows["dense"], strict=True)
    gaps = np.reshape([ours[0] - dense[0] for ours, dense in pairs], (len(seeds), -1)).mean(1)
    error = statistics.stdev(gaps) / len(gaps) ** 0.5 if len(gaps) > 1 else 0.0
    result["minus_dense"] = {"mean": float(gaps.mean()), "error": float(error)}
    return result


def page(results):
    """Return the text of docs/figures/sklearn_scores.md, a table."""
    lines = [
        "| data | samples x features | score | dense | minus dense, points | scikit-learn's | "
        "seconds | scikit-learn's | alive |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        ours, theirs, gap = r["evoprune"], r["scikit-learn"], r["minus_dense"]
        lines.append(
            f"| {r['data']} | {r['samples']:,} x {r['features']} | {ours['score']:.3f} | "
            f"{r['dense']['score']:.3f} | {100 * gap['mean']:+.1f} ± {100 * gap['error']:.1f} | "
            f"{theirs['score']:.3f} | {ours['seconds']:.2f} | "
            f"{theirs['seconds']:.2f} | "
            f"{ours['alive']:.0f} of 100 |"
        )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tuning", action="store_true", help="the sets that defaults come from")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=10, help="the first seed")
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    ep.set_threads(1)
    first = 1000 if args.tuning else args.first
    results = []
    for name, x, y, is_classifier in tuning() if args.tuning else reported():
        if args.only and args.only not in name:
            continue
        r = measured(name, x, y, is_classifier, range(first, first + args.seeds))
        results.append(r)
        ours, theirs = r["evoprune"], r["scikit-learn"]
        print(
            f"{name:16} {ours['score']:.4f} against {theirs['score']:.4f} "
            f"({100 * (ours['score'] - theirs['score']):+5.2f}), dense "
            f"{r['dense']['score']:.4f}, {ours['seconds']:.2f} s against "
            f"{theirs['seconds']:.2f} s, {ours['alive']:.1f} of 100 alive",
            flush=True,
        )
    if not args.tuning and not args.only:
        machine = {"python": platform.python_version(), "processor": platform.machine()}
        facts = {"machine": machine, "seeds": args.seeds, "first": first, "results": results}
        RESULTS.write_text(common.as_json(facts))
        PAGE.write_text(page(results))


if __name__ == "__main__":
    main()
