"""Arithmetic of populations over plain arrays: diversity, spread of fitness, Price and Fisher.

Rows are points in time, columns populations; NaN is a population that is dead. Shares are those of
mass. Nothing here knows a network or a run.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evoprune.common.types import Array

__all__ = ["Fisher", "Price", "fisher", "hill", "mean", "price", "shares", "variance"]


class Price(NamedTuple):
    """Price's equation between records: change = selection + transmission, to rounding.

    Attributes:
        steps: int64 (n,): the end of each interval, in steps of the run.
        change: of the mean trait, weighted by mass: float64 (n,), in units of the trait.
        selection: Cov(w / mean w, z): what comes of mass moving to other populations.
        transmission: E[(w / mean w) dz]: what comes of the trait of each changing.
    """

    steps: Array
    change: Array
    selection: Array
    transmission: Array


class Fisher(NamedTuple):
    """Fisher's theorem between records: change = variance + environment, to rounding.

    Attributes:
        steps: int64 (n,): the end of each interval, in steps of the run.
        change: of mean growth, where growth w is mass after over mass before: float64 (n,).
        variance: Var(w) / mean w: what natural selection adds, never negative.
        environment: E[(w / mean w) dw]: what comes of growth itself changing, as the network
            learns and the living compete.
    """

    steps: Array
    change: Array
    variance: Array
    environment: Array


def shares(mass: Array) -> Array:
    """Shares of mass by row, 0 for the dead: float64 like `mass`; a row without mass is 0."""
    living = np.nan_to_num(np.asarray(mass, np.float64))
    total = living.sum(-1, keepdims=True)
    parts: Array = np.divide(living, total, np.zeros_like(living), where=total > 0)
    return parts


def hill(mass: Array, order: float = 1.0) -> Array:
    """Hill number of every row: how many populations of equal mass would be as diverse.

    Order 0 counts the living, 1 is e to the entropy of shares, 2 one over the chance that two draws
    meet; infinity, one over the greatest share (Hill 1973).
    """
    x = shares(mass)
    some = x.sum(-1) > 0
    if order == 1:
        logs = np.log(x, out=np.zeros_like(x), where=x > 0)
        number = np.exp(-(x * logs).sum(-1))
    elif np.isinf(order):
        number = 1 / np.where(some, x.max(-1, initial=0.0), 1)
    else:
        powers = np.power(x, order, out=np.zeros_like(x), where=x > 0).sum(-1)
        number = np.where(some, powers, 1) ** (1 / (1 - order))
    return np.where(some, number, 0.0)


def mean(mass: Array, trait: Array) -> Array:
    """Mean of a trait, weighted by mass, of every row; NaN where there is no mass."""
    x = shares(mass)
    average: Array = (x * _known(x, trait)).sum(-1)
    return np.where(x.sum(-1) > 0, average, np.nan)


def variance(mass: Array, trait: Array) -> Array:
    """Variance of a trait, weighted by mass, of every row; NaN where there is no mass."""
    spread = np.asarray(trait, np.float64) - mean(mass, trait)[..., None]
    return mean(mass, spread**2)


def price(steps: Array, mass: Array, trait: Array) -> Price:
    """Price's terms from each record to the next (Price 1970); the extinct have w = 0."""
    x, after = shares(mass), shares(mass)[1:]
    here, z = x[:-1], _known(x, trait)
    relative = np.divide(after, here, np.zeros_like(here), where=here > 0)
    before = (here * z[:-1]).sum(1)
    selection = (here * (relative - 1) * (z[:-1] - before[:, None])).sum(1)
    # A population has no trait when it is dead, and no weight either.
    step = np.where(after > 0, z[1:] - z[:-1], 0.0)
    transmission = (here * relative * step).sum(1)
    return Price(steps[1:], (after * z[1:]).sum(1) - before, selection, transmission)


def fisher(steps: Array, mass: Array) -> Fisher:
    """Fisher's terms: those of Price for the trait w = mass after / mass before (Price 1972)."""
    mass = np.nan_to_num(np.asarray(mass, np.float64))
    growth = np.divide(mass[1:], mass[:-1], np.zeros_like(mass[1:]), where=mass[:-1] > 0)
    terms = price(steps[:-1], mass[:-1], growth)
    return Fisher(*terms)


def _known(x: Array, trait: Array) -> Array:
    """The trait where there is mass, 0 elsewhere."""
    return np.where(x > 0, np.asarray(trait, np.float64), 0.0)
