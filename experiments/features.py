"""Feature selection: recall, precision and scores, against other methods.

In the tasks, 5, 10, 20 or 50 of 100 features decide the class (scikit-learn's make_classification),
or 5 of 20 or 100 features decide the value of Friedman's function. Every method selects features on
the training samples; the same estimator is then trained on these features, with default settings
and layers of 64 and 32 neurons. "One run" is an estimator with select_features=True and a lifespan
of 0.3 of the run. EvoPruneSelector was developed with other seeds (100 and up).

    python experiments/features.py    # into results/ and docs/figures/features.md
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from pathlib import Path

os.environ["EVOPRUNE_NUM_THREADS"] = "1"

import numpy as np
from sklearn.datasets import make_classification, make_friedman1
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.feature_selection import SelectFromModel
from sklearn.linear_model import LassoCV, LogisticRegressionCV
from sklearn.preprocessing import StandardScaler

import evoprune as ep

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import common

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "features.json"
PAGE = HERE.parent / "docs" / "figures" / "features.md"
LEARN, TEST, HIDDEN = 2000, 2000, (64, 32)


def classes(relevant, seed):
    """Return samples of two classes; the first `relevant` features decide the class."""
    x, y = make_classification(
        LEARN + TEST,
        100,
        n_informative=relevant,
        n_redundant=0,
        flip_y=0,
        shuffle=False,
        random_state=seed,
    )
    order = np.random.default_rng(seed).permutation(len(x))
    return x[order], y[order]


def friedman(features, seed):
    """Return samples of Friedman's first function, with noise."""
    return make_friedman1(LEARN + TEST, features, noise=1.0, random_state=seed)


TASKS = {
    **{f"{k} of 100": (classes, k, k, True) for k in (5, 10, 20, 50)},
    "Friedman, 5 of 20": (friedman, 20, 5, False),
    "Friedman, 5 of 100": (friedman, 100, 5, False),
}
RUNS = {"one run, pressure 0.8": 0.8, "one run, pressure 1.5": 1.5}
WAYS = ("all features", "the relevant ones", "EvoPruneSelector", *RUNS, "L1", "random forest")


def chosen(way, x, y, relevant, is_classifier, seed):
    """Return the indices of the features that the method `way` selects."""
    if way == "all features":
        return np.arange(x.shape[1])
    if way == "the relevant ones":
        return np.arange(relevant)
    kind = ep.EvoPruneClassifier if is_classifier else ep.EvoPruneRegressor
    estimator = kind(HIDDEN, random_state=seed)
    if way in RUNS:
        estimator.set_params(select_features=True, pressure=RUNS[way], lifespan=0.3)
        return estimator.fit(x, y).network_.births("features")
    if way == "EvoPruneSelector":
        selector = ep.EvoPruneSelector(estimator).fit(x, y)
        return np.flatnonzero(selector.get_support())
    scaled = StandardScaler().fit_transform(x)
    if way == "L1" and is_classifier:
        model = LogisticRegressionCV(
            Cs=10, cv=5, solver="liblinear", penalty="l1", random_state=seed
        )
        return np.flatnonzero(model.fit(scaled, y).coef_[0])
    if way == "L1":
        return np.flatnonzero(LassoCV(cv=5, random_state=seed).fit(scaled, y).coef_)
    trees = RandomForestClassifier if is_classifier else RandomForestRegressor
    forest = trees(100, max_features="sqrt", random_state=seed).fit(x, y)
    return np.flatnonzero(SelectFromModel(forest, prefit=True).get_support())


def measured(task, way, seed):
    """Return score, number of features, recall, precision and seconds of one method on a task."""
    make, argument, relevant, is_classifier = TASKS[task]
    x, y = make(argument, seed)
    begin = time.process_time()
    features = chosen(way, x[:LEARN], y[:LEARN], relevant, is_classifier, seed)
    seconds = time.process_time() - begin
    kind = ep.EvoPruneClassifier if is_classifier else ep.EvoPruneRegressor
    model = kind(HIDDEN, random_state=seed).fit(x[:LEARN, features], y[:LEARN])
    hits = int((features < relevant).sum())
    return {
        "score": model.score(x[LEARN:, features], y[LEARN:]),
        "features": len(features),
        "recall": hits / relevant,
        "precision": hits / max(1, len(features)),
        "seconds": seconds,
    }


def page(rows, seeds):
    """Return the text of docs/figures/features.md, a table."""
    lines = [
        f"Means and deviations of {seeds} seeds, {LEARN:,} samples to learn from and {TEST:,} to "
        f"test on; score: accuracy in percent, or 100 R2. {platform.machine()}, one thread, "
        "processor seconds.",
        "",
        "| task | way | score | features | recall | precision | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['task']} | {row['way']} | {100 * row['score']:.1f} ± "
            f"{100 * row['deviation']:.1f} | {row['features']:.0f} | {100 * row['recall']:.0f} % | "
            f"{100 * row['precision']:.0f} % | {row['seconds']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=3, help="the first seed")
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    ep.set_threads(1)
    rows, seeds = [], range(args.first, args.first + args.seeds)
    for task in TASKS:
        for way in WAYS:
            if args.only not in task:
                continue
            found = [measured(task, way, seed) for seed in seeds]
            row = {"task": task, "way": way}
            row |= {key: statistics.mean(run[key] for run in found) for key in found[0]}
            scores = [run["score"] for run in found]
            row["deviation"] = statistics.stdev(scores) if args.seeds > 1 else 0.0
            rows.append(row)
            print(row, flush=True)
    if not args.only:
        RESULTS.write_text(common.as_json({"seeds": list(seeds), "rows": rows}))
        PAGE.write_text(page(rows, args.seeds))


if __name__ == "__main__":
    main()
