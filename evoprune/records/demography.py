"""Population statistics of plain arrays: diversity, variance of fitness, Price and Fisher.

Rows are points in time (records), columns are populations; NaN marks a population that is not alive
then. Shares are shares of mass. The functions do not depend on a network or a run.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from evoprune.common.types import Array
from evoprune.records.lineage import ancestors, heirs

__all__ = ["Fisher", "Price", "fisher", "hill", "mean", "price", "shares", "variance"]


class Price(NamedTuple):
    """Price's equation between records: change = selection + transmission, up to rounding.

    Here z is the trait of a population and dz its change. The growth w of a population is the mass
    of its descendants, itself included, at the next record, divided by its mass. Means, also
    written E, and the covariance Cov are over populations, weighted by mass.

    Attributes:
        steps: int64 (n,): the end of each interval, in steps of the run.
        change: change of the mass-weighted mean trait: float64 (n,), in units of the trait.
        selection: Cov(w / mean w, z): the part due to mass moving between populations.
        transmission: E[(w / mean w) dz]: the part due to changes of traits between a population at
            one record and its descendants at the next. The change of an immigrant's trait is
            measured from the mean trait at the earlier record.
    """

    steps: Array
    change: Array
    selection: Array
    transmission: Array


class Fisher(NamedTuple):
    """Fisher's theorem between records: change = variance + environment, up to rounding.

    Here w is the growth of a population (mass after / mass before), and dw the change of w. Means,
    also written E, and the variance Var are over populations, weighted by mass.

    Attributes:
        steps: int64 (n,): the end of each interval, in steps of the run.
        change: change of mean growth: float64 (n,).
        variance: Var(w) / mean w: the part due to natural selection, never negative.
        environment: E[(w / mean w) dw]: the part due to changes of each population's growth, as
            the network learns and populations compete.
    """

    steps: Array
    change: Array
    variance: Array
    environment: Array


def shares(mass: Array) -> Array:
    """Return shares of mass within each row, float64; 0 if extinct or if the row has no mass."""
    living = np.nan_to_num(np.asarray(mass, np.float64))
    total = living.sum(-1, keepdims=True)
    parts: Array = np.divide(living, total, np.zeros_like(living), where=total > 0)
    return parts


def hill(mass: Array, order: float = 1.0) -> Array:
    """Return the Hill number of every row: the number of equal masses that would be as diverse.

    Order 0 counts living populations; 1 is e to the entropy of shares; 2 is 1 / the probability
    that two random draws give the same population; infinity is 1 / the largest share (Hill 1973).
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
    """Return the mass-weighted mean of a trait in every row; NaN in a row without mass."""
    x = shares(mass)
    average: Array = (x * _known(x, trait)).sum(-1)
    return np.where(x.sum(-1) > 0, average, np.nan)


def variance(mass: Array, trait: Array) -> Array:
    """Return the mass-weighted variance of a trait in every row; NaN in a row without mass."""
    spread = np.asarray(trait, np.float64) - mean(mass, trait)[..., None]
    return mean(mass, spread**2)


def price(steps: Array, mass: Array, trait: Array, parents: Array | None = None) -> Price:
    """Return the terms of Price's equation (Price 1970) between records; see the class `Price`.

    `parents` has the column of every population's parent, or -1: (populations,); None if no
    population was born after the first record.
    """
    x, after = shares(mass), shares(mass)[1:]
    here, z = x[:-1], _known(x, trait)
    if parents is not None:
        return _price_of_descent(steps, x, z, ancestors(mass, parents))
    relative = np.divide(after, here, np.zeros_like(here), where=here > 0)
    before = (here * z[:-1]).sum(1)
    selection = (here * (relative - 1) * (z[:-1] - before[:, None])).sum(1)
    # Extinct populations have weight 0; replace their NaN traits so that sums stay finite.
    step = np.where(after > 0, z[1:] - z[:-1], 0.0)
    transmission = (here * relative * step).sum(1)
    return Price(steps[1:], (after * z[1:]).sum(1) - before, selection, transmission)


def _price_of_descent(steps: Array, x: Array, z: Array, origin: Array) -> Price:
    here, after = x[:-1], x[1:]
    before = (here * z[:-1]).sum(1)
    gain = heirs(after, origin) - here
    selection = (gain * (z[:-1] - before[:, None])).sum(1)
    native = np.take_along_axis(z[:-1], np.maximum(origin, 0), 1)
    start = np.where(origin >= 0, native, before[:, None])
    transmission = (after * np.where(after > 0, z[1:] - start, 0.0)).sum(1)
    return Price(steps[1:], (after * z[1:]).sum(1) - before, selection, transmission)


def fisher(steps: Array, mass: Array, parents: Array | None = None) -> Fisher:
    """Return the terms of Fisher's theorem between records; see the class `Fisher`.

    They are the terms of Price's equation with growth of mass as the trait (Price 1972). `parents`
    is as for `price`.
    """
    known = np.nan_to_num(np.asarray(mass, np.float64))
    after = known[1:] if parents is None else heirs(known[1:], ancestors(mass, parents))
    growth = np.divide(after, known[:-1], np.zeros_like(after), where=known[:-1] > 0)
    terms = price(steps[:-1], known[:-1] if parents is None else mass[:-1], growth, parents)
    return Fisher(*terms)


def _known(x: Array, trait: Array) -> Array:
    """Return the trait where there is mass, 0 elsewhere."""
    return np.where(x > 0, np.asarray(trait, np.float64), 0.0)
