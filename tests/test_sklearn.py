"""Estimators pass scikit-learn's checks and work with its tools; effects of selection."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn")

import joblib
import scripts
from sklearn import config_context, datasets
from sklearn.base import clone
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedKFold,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import evoprune as ep

short = pytest.mark.filterwarnings("ignore::evoprune.NothingCanDie")  # runs of few generations


@parametrize_with_checks([ep.EvoPruneClassifier(), ep.EvoPruneRegressor(), ep.EvoPruneSelector()])
def test_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def iris():
    return datasets.load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def fitted(iris):
    return ep.EvoPruneClassifier(max_iter=30, random_state=0).fit(*iris)


def few_of_many(samples=400, seed=3):
    """Return features (samples, 100) and classes, which depend on the first 5 features only."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(samples, 100))
    return x, (x[:, :5].sum(axis=1) > 0).astype(int)


# ---- values ----------------------------------------------------------------------------------


def test_probabilities_are_the_softmax_of_the_network_on_raw_features(iris, fitted):
    x, _ = iris
    logits = fitted.network_.predict(x.astype(np.float32)).astype(np.float64)
    powers = np.exp(logits)
    expected = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(fitted.predict_proba(x), expected, rtol=1e-12)
    np.testing.assert_allclose(fitted.predict_log_proba(x), np.log(expected), atol=1e-12)
    np.testing.assert_array_equal(fitted.predict(x), expected.argmax(axis=1))


def test_features_are_scaled_by_their_mean_and_deviation(iris, fitted):
    x, _ = iris
    shift, scale = fitted.network_.input_scaling
    np.testing.assert_allclose(shift, x.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(scale, 1 / x.std(axis=0), rtol=1e-6)


def test_a_regression_of_large_targets_is_scaled_back():
    x, y = datasets.make_friedman1(300, random_state=0)
    small = ep.EvoPruneRegressor(max_iter=20, random_state=0).fit(x, y)
    large = ep.EvoPruneRegressor(max_iter=20, random_state=0).fit(x, 1000 * y + 5e4)
    assert small.score(x, y) > 0.6
    # Scaled targets differ by roundings, which training amplifies.
    assert large.score(x, 1000 * y + 5e4) == pytest.approx(small.score(x, y), abs=0.03)
    assert abs((large.predict(x) - 5e4) / 1000 - small.predict(x)).mean() < 0.3 * y.std()


def test_several_outputs_are_predicted_each_at_its_scale():
    x, y = datasets.make_friedman1(300, random_state=0)
    both = np.column_stack([y, -100 * y])
    model = ep.EvoPruneRegressor(max_iter=40, random_state=0).fit(x, both)
    assert model.predict(x).shape == both.shape
    assert model.score(x, both) > 0.8


def test_several_labels_a_sample():
    x, y = datasets.make_multilabel_classification(300, 10, n_classes=4, random_state=0)
    model = ep.EvoPruneClassifier(random_state=0).fit(x, y)
    chance = model.predict_proba(x)
    logits = model.network_.predict(x.astype(np.float32)).astype(np.float64)
    np.testing.assert_allclose(chance, 1 / (1 + np.exp(-logits)), rtol=1e-12)
    np.testing.assert_array_equal(model.predict(x), chance > 0.5)
    assert (model.predict(x) == y).mean() > 0.85
    assert model.classes_.tolist() == [0, 1, 2, 3]


def test_labels_may_be_strings(iris):
    x, y = iris
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    model = ep.EvoPruneClassifier(max_iter=30, random_state=0).fit(x, names)
    assert model.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    assert (model.predict(x) == names).mean() > 0.9


def test_balanced_weights_find_a_rare_class():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 1, (600, 2)), rng.normal(1.5, 1, (30, 2))])
    y = np.repeat([0, 1], [600, 30])
    found = {}
    for weight in (None, "balanced", {0: 1, 1: 20}):
        model = ep.EvoPruneClassifier(class_weight=weight, random_state=0).fit(x, y)
        found[str(weight)] = model.predict(x)[y == 1].mean()
    assert found["balanced"] > found["None"] + 0.3
    assert found["{0: 1, 1: 20}"] == pytest.approx(found["balanced"], abs=0.1)


@short
def test_an_integer_weight_counts_as_n_samples(iris):
    x, y = iris
    weights = np.random.default_rng(0).integers(0, 4, len(y))
    weighted = ep.EvoPruneClassifier(max_iter=5, random_state=0).fit(x, y, sample_weight=weights)
    repeated = ep.EvoPruneClassifier(max_iter=5, random_state=0)
    repeated.fit(x.repeat(weights, axis=0), y.repeat(weights))
    np.testing.assert_array_equal(weighted.predict_proba(x), repeated.predict_proba(x))


def test_weights_that_are_no_whole_numbers_weigh_the_loss(iris):
    x, y = iris
    weights = np.where(y == 1, 0.3, 1.7)
    model = ep.EvoPruneClassifier(max_iter=30, random_state=0).fit(x, y, sample_weight=weights)
    np.testing.assert_allclose(
        model.network_.input_scaling[0], np.average(x, axis=0, weights=weights), rtol=1e-6
    )
    plain = ep.EvoPruneClassifier(max_iter=30, random_state=0).fit(x, y)
    doubled = ep.EvoPruneClassifier(max_iter=30, random_state=0)
    doubled.fit(x, y, sample_weight=2.0 * weights)
    assert (model.predict(x) == 1).sum() < (plain.predict(x) == 1).sum()
    np.testing.assert_allclose(doubled.predict_proba(x), model.predict_proba(x), rtol=1e-5)


@short
def test_the_order_of_samples_does_not_matter(iris):
    x, y = iris
    order = np.random.default_rng(0).permutation(len(y))
    one = ep.EvoPruneClassifier(max_iter=5, random_state=0).fit(x, y)
    other = ep.EvoPruneClassifier(max_iter=5, random_state=0).fit(x[order], y[order])
    np.testing.assert_array_equal(one.predict_proba(x), other.predict_proba(x))


def test_half_of_the_neurons_become_extinct_by_defaults():
    for model, data in (
        (ep.EvoPruneClassifier(random_state=1), datasets.load_wine(return_X_y=True)),
        (ep.EvoPruneRegressor(random_state=1), datasets.load_diabetes(return_X_y=True)),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("error", ep.NothingCanDie)
            model.fit(*data)
        assert sum(model.network_.alive.values()) <= 50


# ---- runs ------------------------------------------------------------------------------------


def test_early_stopping_restores_the_best_epoch():
    x, y = datasets.make_classification(300, 20, n_informative=4, flip_y=0.3, random_state=0)
    model = ep.EvoPruneClassifier(
        early_stopping=True, n_iter_no_change=3, weight_decay=0, random_state=0
    ).fit(x, y)
    losses = model.history_["validation_loss"]
    assert model.n_iter_ < 120
    assert model.n_iter_ == len(losses) == losses.argmin() + 1 + 3


@short
def test_a_warm_start_continues_the_network(iris):
    model = ep.EvoPruneClassifier(max_iter=4, warm_start=True, random_state=0).fit(*iris)
    network, steps = model.network_, model.network_.step
    model.fit(*iris)
    assert model.network_ is network
    assert model.network_.step == 2 * steps
    assert len(model.loss_curve_) == 8


def test_partial_fit_goes_through_the_data_once_a_call(iris):
    x, y = iris
    model = ep.EvoPruneClassifier(batch_size=50, random_state=0)
    with pytest.raises(ValueError, match="classes"):
        model.partial_fit(x, y)
    for part in range(3):
        model.partial_fit(x[part::3], y[part::3], classes=[0, 1, 2])
    assert model.network_.step == 3
    with pytest.raises(ValueError, match=r"expected labels among \[0, 1, 2\].*got \[3\]"):
        model.partial_fit(x, y + 1)
    for _ in range(60):
        model.partial_fit(x, y)
    assert model.score(x, y) > 0.9


def test_a_bad_setting_is_named(iris):
    for settings, text in (
        ({"max_iter": 0}, "max_iter"),
        ({"hidden_layer_sizes": (3, 0)}, "hidden_layer_sizes"),
        ({"validation_fraction": 1.0}, "validation_fraction"),
        ({"batch_size": "many"}, "batch_size"),
        ({"activation": "bogus"}, "activation"),
    ):
        with pytest.raises((ValueError, TypeError), match=text):
            ep.EvoPruneClassifier(**settings).fit(*iris)


# ---- tools of scikit-learn -------------------------------------------------------------------


def test_features_without_information_become_extinct():
    x, y = few_of_many()
    selector = ep.EvoPruneSelector(random_state=0).fit(x, y)
    support = selector.get_support()
    assert support[:5].all()
    assert support.sum() <= 30
    np.testing.assert_array_equal(selector.transform(x), x[:, support])
    assert selector.get_feature_names_out().tolist() == [f"x{i}" for i in np.flatnonzero(support)]


@pytest.mark.parametrize("relevant", [4, 12])
def test_rounds_find_the_features_whatever_their_number(relevant):
    x = np.random.default_rng(0).normal(size=(700, 24))
    signs = np.where(np.arange(relevant) % 2, 1.0, -1.0)
    y = x[:, :relevant] @ signs > 0
    estimator = ep.EvoPruneClassifier((24,), max_iter=60, random_state=0)
    selector = ep.EvoPruneSelector(estimator).fit(x, y)
    found = np.flatnonzero(selector.get_support())
    assert (found < relevant).sum() >= 0.9 * relevant
    assert len(found) <= relevant + 4
    assert (selector.masses_ > 0).sum() == len(found)
    assert len(found) in [n for n, _ in selector.rounds_]
    losses = [loss for _, loss in selector.rounds_]
    means = [
        (losses[max(0, i - 1)] + 2 * loss + losses[min(i + 1, len(losses) - 1)]) / 4
        for i, loss in enumerate(losses)
    ]
    assert len(found) == selector.rounds_[int(np.argmin(means))][0]
    assert selector.estimator_.n_features_in_ == len(found)


def test_a_feature_that_is_learned_late_is_found():
    """Friedman's function is symmetric in feature 2, which therefore has no fitness at first."""
    x, y = datasets.make_friedman1(1000, 60, noise=1.0, random_state=0)
    estimator = ep.EvoPruneRegressor((32,), max_iter=60, random_state=0)
    selector = ep.EvoPruneSelector(estimator).fit(x, y)
    assert np.flatnonzero(selector.get_support()).tolist() == [0, 1, 2, 3, 4]
    numbers = [n for n, _ in selector.rounds_]
    assert numbers.count(5) > 1  # a round without extinctions is followed by more pressure
    assert min(numbers) < 5


@pytest.mark.parametrize("budget", [False, True])
def test_rounds_end_if_no_feature_can_become_extinct(budget):
    x, y = few_of_many()
    pressure = ep.Budget(alive=1.0) if budget else 0.0
    estimator = ep.EvoPruneClassifier((8,), max_iter=10, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ep.NothingCanDie)
        selector = ep.EvoPruneSelector(estimator, pressure=pressure).fit(x, y)
    assert selector.get_support().all()
    assert len(selector.rounds_) == 1


def test_a_lifespan_below_one_is_a_share_of_the_run():
    x, y = datasets.load_iris(return_X_y=True)
    model = ep.EvoPruneClassifier(lifespan=0.25, max_iter=40, batch_size=15).fit(x, y)
    generations = (1 + np.cos(np.pi * np.arange(400) / 400)).sum() / 2
    assert model.network_.selection.dynamics.lifespan == round(0.25 * generations)
    model = ep.EvoPruneClassifier(lifespan=0.25).partial_fit(x, y, classes=[0, 1, 2])
    assert model.network_.selection.dynamics.lifespan == 700
    with pytest.raises(ValueError, match="lifespan"):
        ep.EvoPruneClassifier(lifespan=0).fit(x, y)


def test_one_round_selects_on_all_samples():
    x, y = few_of_many()
    selector = ep.EvoPruneSelector(random_state=0, rounds=1, pressure=0.8).fit(x, y)
    alone = ep.EvoPruneClassifier(
        random_state=0, pressure=0.8, lifespan=0.5, select_features=True
    ).fit(x, y)
    assert selector.rounds_ == []
    births = alone.network_.births("features").tolist()
    assert np.flatnonzero(selector.get_support()).tolist() == births


@pytest.mark.parametrize("name", ["iris", "wine"])
def test_half_of_the_neurons_become_extinct_at_an_equal_score(name):
    """A small version of experiments/sklearn_scores.py."""
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    scores, alive = {0.8: [], 0.0: []}, []
    for learn, test in StratifiedKFold(3, shuffle=True, random_state=0).split(x, y):
        for pressure, found in scores.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ep.NothingCanDie)
                model = ep.EvoPruneClassifier(pressure=pressure, random_state=0)
                model.fit(x[learn], y[learn])
            found.append(model.score(x[test], y[test]))
            if pressure:
                alive += [sum(model.network_.alive.values())]
    assert ep.EvoPruneClassifier().pressure == 0.8
    assert max(alive) <= 50
    assert np.mean(scores[0.8]) >= np.mean(scores[0.0]) - 0.01


def test_selecting_features_beats_all_of_them():
    x, y = few_of_many()
    test_x, test_y = few_of_many(2000, seed=4)
    scores = {
        select: ep.EvoPruneClassifier(select_features=select, random_state=0)
        .fit(x, y)
        .score(test_x, test_y)
        for select in (False, True)
    }
    assert scores[True] > scores[False] + 0.03


def test_a_selector_takes_an_estimator_and_works_in_a_pipeline():
    x, y = few_of_many()
    given = ep.EvoPruneClassifier(max_iter=60, random_state=0)
    pipe = make_pipeline(StandardScaler(), ep.EvoPruneSelector(given), clone(given)).fit(x, y)
    assert pipe[1].estimator_.max_iter == 60
    assert not hasattr(given, "network_")
    assert pipe[2].n_features_in_ == pipe[1].get_support().sum()


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_grid_search_of_any_number_of_jobs(iris, jobs):
    search = GridSearchCV(
        ep.EvoPruneClassifier(max_iter=10, random_state=0),
        {"hidden_layer_sizes": [(2,), (30,)], "pressure": [0.5]},
        n_jobs=jobs,
        cv=3,
    ).fit(*iris)
    assert search.best_params_["hidden_layer_sizes"] == (30,)
    scores = cross_val_score(search.best_estimator_, *iris, cv=3)
    np.testing.assert_array_equal(
        scores, [search.cv_results_[f"split{i}_test_score"][1] for i in range(3)]
    )


def test_an_estimator_can_be_stored_by_joblib_and_trained_further(tmp_path, iris, fitted):
    joblib.dump(fitted, tmp_path / "model.joblib")
    again = joblib.load(tmp_path / "model.joblib")
    np.testing.assert_array_equal(again.predict_proba(iris[0]), fitted.predict_proba(iris[0]))
    assert again.loss_curve_ == fitted.loss_curve_
    np.testing.assert_array_equal(again.history_["loss"], fitted.history_["loss"])
    before = fitted.network_.step
    again.set_params(warm_start=True).fit(*iris)
    assert again.network_.step == 2 * before
    assert fitted.network_.step == before


@short
def test_frames_are_accepted_and_returned():
    pandas = pytest.importorskip("pandas")
    x, y = few_of_many(200)
    frame = pandas.DataFrame(x, columns=[f"column{i}" for i in range(100)])
    selector = ep.EvoPruneSelector(random_state=0).set_output(transform="pandas").fit(frame, y)
    assert list(selector.transform(frame)) == list(frame.columns[selector.get_support()])
    assert selector.feature_names_in_.tolist() == list(frame.columns)
    model = ep.EvoPruneClassifier(max_iter=2).fit(frame, pandas.Series(y))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[frame.columns[::-1]])


@short
def test_weights_are_routed(iris):
    x, y = iris
    weights = (y != 2).astype(float)
    with config_context(enable_metadata_routing=True):
        model = ep.EvoPruneClassifier(max_iter=5, random_state=0)
        model = model.set_fit_request(sample_weight=True).set_score_request(sample_weight=False)
        found = cross_validate(
            model, x, y, cv=3, params={"sample_weight": weights}, return_estimator=True
        )
    for estimator in found["estimator"]:
        assert (estimator.predict(x) != 2).all()  # no sample of that class has a weight above 0


def test_importing_the_package_does_not_import_scikit_learn():
    code = """
        import sys
        import evoprune
        before = "sklearn" in sys.modules
        assert "EvoPruneClassifier" in dir(evoprune)
        evoprune.EvoPruneClassifier
        print(before, "sklearn" in sys.modules)
    """
    assert scripts.run(code).split() == ["False", "True"]


def test_without_scikit_learn_the_error_names_the_extra():
    code = """
        import sys
        sys.modules["sklearn"] = None
        import evoprune
        try:
            evoprune.EvoPruneRegressor
        except ImportError as error:
            print(error)
    """
    assert "pip install 'evoprune[sklearn]'" in scripts.run(code)
