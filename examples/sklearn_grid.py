"""Choose a network by grid search, in a pipeline that selects features first."""

from sklearn.datasets import load_wine
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline

import evoprune as ep

x, y = load_wine(return_X_y=True)
x, test_x, y, test_y = train_test_split(x, y, stratify=y, random_state=0)
pipeline = Pipeline(
    [
        ("select", ep.EvoPruneSelector(random_state=0)),
        ("classify", ep.EvoPruneClassifier(max_iter=60, random_state=0)),
    ]
)
search = GridSearchCV(pipeline, {"classify__pressure": [0.5, 1.0]}, cv=3, n_jobs=2)
search.fit(x, y)
best = search.best_estimator_
print(f"features selected: {best['select'].get_support().sum()} of {x.shape[1]}")
print(f"neurons alive: {sum(best['classify'].network_.alive.values())} of 100")
print(f"test accuracy: {best.score(test_x, test_y):.1%}")
