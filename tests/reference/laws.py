"""Losses, optimizers and fitness as plain NumPy in float64: the reference for the C laws.

There is one function per law, named as in the catalogue. Losses take outputs (rows, n) and return
the loss of each row (rows,), its weight in the mean (rows,), the hits (rows,), which are 1 if a
prediction is right and else 0, and the gradient of the sum of the losses (rows, n). These are the
plain equations, neither fast nor safe from overflow.
"""

from __future__ import annotations

import numpy as np

# ---- losses -------------------------------------------------------------------------------------


def log_softmax(y: np.ndarray) -> np.ndarray:
    y = y - y.max(axis=1, keepdims=True)
    return y - np.log(np.exp(y).sum(axis=1, keepdims=True))


def cross_entropy(config: dict, y: np.ndarray, targets: np.ndarray):
    n = y.shape[1]
    weights = np.ones(n) if config["class_weights"] is None else np.array(config["class_weights"])
    smoothing = config["label_smoothing"]
    known = targets >= 0
    one_hot = np.eye(n)[np.where(known, targets, 0)]
    q = weights * ((1 - smoothing) * one_hot + smoothing / n) * known[:, None]
    logp = log_softmax(y)
    loss = -(q * logp).sum(axis=1)
    dy = q.sum(axis=1, keepdims=True) * np.exp(logp) - q
    weight = np.where(known, weights[targets], 0)
    hit = (weight > 0) & (y.argmax(axis=1) == targets)
    return loss, weight, hit.astype(float), dy


def mean_squared_error(config: dict, y: np.ndarray, targets: np.ndarray):
    rows, n = y.shape
    gap = y - targets
    return (gap**2).mean(axis=1), np.ones(rows), np.zeros(rows), 2 * gap / n


def binary_cross_entropy(config: dict, y: np.ndarray, targets: np.ndarray):
    rows, n = y.shape
    # The loss is log(1 + e^y) - t y for target t.
    loss = (np.logaddexp(0, y) - targets * y).mean(axis=1)
    hit = ((y > 0) == (targets > 0.5)).all(axis=1)
    return loss, np.ones(rows), hit.astype(float), (1 / (1 + np.exp(-y)) - targets) / n


def mean_absolute_error(config: dict, y: np.ndarray, targets: np.ndarray):
    rows, n = y.shape
    gap = y - targets
    return np.abs(gap).mean(axis=1), np.ones(rows), np.zeros(rows), np.sign(gap) / n


def huber(config: dict, y: np.ndarray, targets: np.ndarray):
    rows, n = y.shape
    gap, delta = y - targets, config["delta"]
    near = np.abs(gap) <= delta
    loss = np.where(near, gap**2 / 2, delta * (np.abs(gap) - delta / 2)).mean(axis=1)
    return loss, np.ones(rows), np.zeros(rows), np.clip(gap, -delta, delta) / n


def poisson(config: dict, y: np.ndarray, targets: np.ndarray):
    rows, n = y.shape
    # The loss is e^y - t y for target t: -log p(t) of a Poisson distribution with mean e^y,
    # without the constant log(t!).
    loss = (np.exp(y) - targets * y).mean(axis=1)
    return loss, np.ones(rows), np.zeros(rows), (np.exp(y) - targets) / n


def soft_cross_entropy(config: dict, y: np.ndarray, targets: np.ndarray):
    logp = log_softmax(y)
    loss = -(targets * logp).sum(axis=1)
    dy = targets.sum(axis=1, keepdims=True) * np.exp(logp) - targets
    hit = y.argmax(axis=1) == targets.argmax(axis=1)
    return loss, np.ones(len(y)), hit.astype(float), dy


def hinge(config: dict, y: np.ndarray, targets: np.ndarray):
    n = y.shape[1]
    known = targets >= 0
    class_ = np.where(known, targets, 0)[:, None]
    gap = config["margin"] - np.take_along_axis(y, class_, 1) + y
    over = (gap > 0) & (np.arange(n) != class_) & known[:, None]
    loss = np.where(over, gap, 0).sum(axis=1) / n
    dy = over / n
    np.put_along_axis(dy, class_, -dy.sum(axis=1, keepdims=True), 1)
    hit = known & (y.argmax(axis=1) == targets)
    return loss, known.astype(float), hit.astype(float), dy


# ---- optimizers ---------------------------------------------------------------------------------


def sgd(config: dict, value, gradient, first, second, rate, decay, scale, step):
    g = scale * gradient
    first = config["momentum"] * first + g
    move = g + config["momentum"] * first if config["nesterov"] else first
    return value - rate * decay * value - rate * move, first, second


def adamw(config: dict, value, gradient, first, second, rate, decay, scale, step):
    g = scale * gradient
    beta1, beta2 = config["beta1"], config["beta2"]
    first = beta1 * first + (1 - beta1) * g
    second = beta2 * second + (1 - beta2) * g**2
    mean, square = first / (1 - beta1**step), second / (1 - beta2**step)
    move = mean / (np.sqrt(square) + config["epsilon"])
    return value - rate * decay * value - rate * move, first, second


# ---- fitness ------------------------------------------------------------------------------------
# Signals of n populations, each (n,): mass, mass_gradient, owned_norm2, owned_gradient2,
# owned_product, activity; and terms, the number of predictions in the mean loss.


def marginal(config: dict, s: dict) -> np.ndarray:
    return -s["mass_gradient"]


def worth(config: dict, s: dict) -> np.ndarray:
    x = s["mass"] * s["mass_gradient"]
    return -x + s["terms"] * x**2 / 2


def taylor(config: dict, s: dict) -> np.ndarray:
    return np.abs(s["mass"] * s["mass_gradient"])


def relative(config: dict, s: dict) -> np.ndarray:
    return -s["mass"] * s["mass_gradient"]


def gradient(config: dict, s: dict) -> np.ndarray:
    return np.sqrt(s["owned_gradient2"])


def magnitude(config: dict, s: dict) -> np.ndarray:
    return np.sqrt(s["owned_norm2"])


def activity(config: dict, s: dict) -> np.ndarray:
    return s["activity"]


def pull(config: dict, s: dict) -> np.ndarray:
    return -s["owned_product"]
