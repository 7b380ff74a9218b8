"""The dynamics as plain NumPy in float64: the reference for the C laws.

A deterministic law is a function `(config, cohort) -> mass`. A stochastic law cannot be compared
draw by draw, so its function returns the exact mean and covariance of the masses after one
generation. Symbols: F fitness, c upkeep, h strength of the law.
There are no guards against overflow and no optimizations: these are the equations of
docs/method.md.
"""

from dataclasses import dataclass

import numpy as np


@dataclass
class Cohort:
    """One niche at one generation; shapes are (n,) unless stated, masses and upkeep >= 0.

    `born` is the number of populations at founding.
    """

    mass: np.ndarray
    fitness: np.ndarray
    upkeep: np.ndarray
    birth: np.ndarray  # birth ids: unique, from 0 to born - 1
    born: int
    overlap: np.ndarray | None = None  # similarities of populations (n, n)
    norm2: np.ndarray | None = None
    threshold: float = 1e-3
    strength: float = 1.0  # multiplies every step size

    def growth(self, config: dict, relative: bool = False) -> np.ndarray:
        """Return the log-growth h (F - c), clipped to [-clip, clip], times `strength`.

        If `relative` is true, F - c is replaced by F - c minus its mean weighted by mass.
        """
        gain = self.fitness - self.upkeep
        if relative:
            gain = gain - self.mass @ gain / self.mass.sum()
        clip = config["clip"]
        return self.strength * np.clip(config["strength"] * gain, -clip, clip)

    def among(self, matrix: np.ndarray) -> np.ndarray:
        """Return the rows and columns of living populations in a (born, born) matrix given flat."""
        return np.reshape(matrix, (self.born, self.born))[np.ix_(self.birth, self.birth)]


def none(config: dict, c: Cohort) -> np.ndarray:
    return c.mass.copy()


def malthusian(config: dict, c: Cohort) -> np.ndarray:
    if config["growth"] == "raw":
        return np.minimum(c.mass * np.exp(c.growth(config)), config["ceiling"])
    turnover = np.abs(c.fitness) + c.upkeep
    gain = np.divide(
        c.fitness - c.upkeep, turnover, out=np.zeros_like(turnover), where=turnover > 0
    )
    growth = c.strength * np.log(1 / c.threshold) / config["lifespan"] * gain
    return np.minimum(c.mass * np.exp(growth), config["ceiling"])


def replicator(config: dict, c: Cohort) -> np.ndarray:
    grown = c.mass * np.exp(c.growth(config, relative=True))
    return grown * (c.mass.sum() / grown.sum())


def replicator_mutator(config: dict, c: Cohort) -> np.ndarray:
    living = c.mass > 0
    if len(config["kernel"]):
        q = c.among(config["kernel"]) * np.outer(living, living)
        # No population mutates into an extinct one; that probability stays with the parent.
        q[np.diag_indices_from(q)] += 1 - q.sum(axis=1)
    else:
        q = np.eye(len(living)) * (1 - config["mutation"])
        q = q + config["mutation"] * np.outer(living, living) / max(living.sum(), 1)
    bred = q.T @ (c.mass * np.exp(c.growth(config, relative=True)))
    return bred * (c.mass.sum() / bred.sum())


def logistic(config: dict, c: Cohort) -> np.ndarray:
    grown = c.mass * np.exp(c.growth(config))
    total, capacity = c.mass.sum(), config["capacity"] * c.born
    return grown / (1 + max(grown.sum() / total - 1, 0) * total / capacity)


def lotka_volterra(config: dict, c: Cohort) -> np.ndarray:
    r, total = c.growth(config), c.mass.sum()
    if len(config["interaction"]):
        crowding = c.among(config["interaction"]) @ c.mass / config["capacity"]
    else:
        alike = np.ones((len(r), len(r))) if c.overlap is None else c.overlap
        felt = alike @ c.mass
        mean = c.mass @ felt / total
        crowding = felt / mean * total / (config["capacity"] * c.born)
    return np.where(r > 0, c.mass / (np.exp(-r) - np.expm1(-r) * crowding), c.mass * np.exp(r))


def best_response(config: dict, c: Cohort) -> np.ndarray:
    norm2 = np.ones_like(c.mass) if c.norm2 is None else c.norm2
    others = np.zeros_like(c.mass)
    if c.overlap is not None:
        others = (c.overlap - np.diag(np.diag(c.overlap))) @ c.mass
    stiff = 2 * config["beta"] * norm2
    slope = config["alpha"] * (c.fitness - c.upkeep) - stiff * c.mass
    slope = slope - config["gamma"] - config["eta"] * others
    h = config["strength"] * c.strength
    span = np.where(stiff > 0, -np.expm1(-stiff * h) / np.where(stiff > 0, stiff, 1), h)
    return np.clip(c.mass + span * slope, 0, 1)


# --- stochastic laws: (mean, covariance) of the masses after one generation -------------------


def noisy_growth(config: dict, c: Cohort) -> tuple[np.ndarray, np.ndarray]:
    h, s = config["strength"] * c.strength, config["noise"]
    # The noise factor exp(s sqrt(h) z - s^2 h / 2), with z a standard normal number, has mean 1.
    mean = c.mass * np.exp(c.growth(config))
    return mean, np.diag(mean**2 * np.expm1(s * s * h))


def wright_fisher(config: dict, c: Cohort) -> tuple[np.ndarray, np.ndarray]:
    total = c.mass.sum()
    size = max(1, round(config["size"] * total / c.strength))
    p = replicator(config, c) / total
    return p * total, total**2 * (np.diag(p) - np.outer(p, p)) / size


def moran(config: dict, c: Cohort) -> tuple[np.ndarray, np.ndarray]:
    total = c.mass.sum()
    size = max(1, round(config["size"] * total))
    events = min(size, max(1, round(config["turnover"] * c.strength * size)))
    x = c.mass / total
    life = c.growth(config, relative=True) / (c.strength * config["turnover"])
    p = x * np.exp(life)
    p = p / p.sum()
    bred = np.diag(p) - np.outer(p, p)
    died = (np.diag(x) - np.outer(x, x)) * (size - events) / max(size - 1, 1)
    return total * (x + events / size * (p - x)), (total / size) ** 2 * events * (bred + died)


EXACT = {
    law.__name__: law
    for law in (
        malthusian,
        replicator,
        replicator_mutator,
        logistic,
        lotka_volterra,
        best_response,
        none,
    )
}
CHANCE = {law.__name__: law for law in (noisy_growth, wright_fisher, moran)}
