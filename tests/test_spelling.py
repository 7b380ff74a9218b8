"""The error for an unknown keyword of a public function or class names the closest known one."""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest

import evoprune as ep

# classes whose objects are made by the package, not by users
MADE_BY_US = (ep.Network, ep.NothingCanDie, ep.Diverged, ep.FileFormatError)
NETWORK, DATA = ep.mlp(2, 3, 2), ep.datasets.arrays([[0.0, 1.0]], [0])
TRAINER = ep.Trainer(NETWORK)
METHODS = [NETWORK.predict_classes, NETWORK.evaluate, NETWORK.prune, NETWORK.save]
METHODS += [TRAINER.plan, TRAINER.fit, TRAINER.resume, TRAINER.evaluate, DATA.subset, DATA.split]
METHODS += [ep.History.trajectories, ep.History.to_frame]


def options(thing):
    """Return the names of the parameters that have a default."""
    of = [p for p in inspect.signature(thing).parameters.values() if p.default is not p.empty]
    return [p.name for p in of if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]


def everything():
    """Yield the public functions and classes that have options."""
    for module in (ep, ep.plot, ep.datasets, ep.schedules, ep.export):
        for name in module.__all__:
            thing = getattr(module, name)
            if callable(thing) and thing not in MADE_BY_US and name != "style" and options(thing):
                yield pytest.param(thing, id=f"{module.__name__}.{name}")


@pytest.mark.parametrize(
    "thing", [*everything(), *(pytest.param(m, id=m.__qualname__) for m in METHODS)]
)
def test_a_misspelt_option_is_answered_by_the_closest(thing):
    """Pass each option alone, with its last two letters swapped."""
    for name in options(thing):
        wrong = f"{name[:-2]}{name[-1:]}{name[-2:-1]}"
        if wrong != name and len(name) > 3:
            with pytest.raises(TypeError, match=rf"no \w+ '{wrong}'; .*; did you mean \w+\?"):
                thing(**{wrong: 1})


def test_a_method_called_by_its_class_needs_a_trainer():
    with pytest.raises(TypeError, match="missing .* required .* 'self'"):
        ep.Trainer.fit(epochs=1)


def test_warnings_name_the_line_of_the_user():
    """Warnings name the user's line even if many functions of the package lie between."""
    x, y = np.zeros((8, 2)), np.arange(8) % 2
    calls = [
        (ep.NothingCanDie, lambda: TRAINER.fit(x, y, epochs=1, progress=False)),
        (ep.NothingCanDie, lambda: ep.EvoPruneClassifier(max_iter=1).fit(x, y)),
        (DeprecationWarning, lambda: TRAINER.fit(x, y, epochs=1, batch=4, progress=False)),
        (DeprecationWarning, lambda: ep.EarlyStopping(least=1)),
        (DeprecationWarning, lambda: ep.Checkpoint("{held}.safetensors")),
        (DeprecationWarning, lambda: ep.cosine(1.0)),
        (DeprecationWarning, lambda: NETWORK.flops),
        (DeprecationWarning, lambda: NETWORK.keys()[0]),
        (UserWarning, lambda: regression().fit(x, 1e4 + np.arange(8.0), progress=False, epochs=1)),
    ]
    for category, call in calls:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
        lines = {w.filename for w in caught if issubclass(w.category, category)}
        assert lines == {__file__}, inspect.getsource(call)


def regression():
    return ep.Trainer(ep.mlp(2, 3, 1), loss="mean_squared_error", selection=None)
