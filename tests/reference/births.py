"""Births as plain NumPy in float64: which populations divide, their halves, and immigrants.

Written from docs/method.md, one population at a time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass
class Layer:
    """Mass, fitness and upkeep of a layer's living populations (n,), and its number of founders."""

    mass: np.ndarray
    fitness: np.ndarray
    upkeep: np.ndarray
    founded: int


def births(
    config: dict, layer: Layer, mean: float, generation: int, strength: float = 1
) -> tuple[list[int], int]:
    """Return indices of the populations that divide, fittest first, and the number of immigrants.

    `mean` is the mean fitness of the living populations of the niche, `strength` the strength of
    selection in this generation.
    """
    living = len(layer.mass)
    capacity = max(layer.founded, int(config["capacity"] * layer.founded))
    most = capacity - living
    if generation % config["every"] or strength == 0 or strength < config["least_strength"]:
        return [], 0
    if config["rate"] == "vacancies":
        most = min(most, layer.founded - living)
    elif config["rate"] == "number":
        each = config["number"] * layer.founded
        so_far, before = each * generation, each * (generation - config["every"])
        most = min(most, math.floor(so_far) - math.floor(before))
    elif config["kind"] == "immigration":
        earned, mean_upkeep = np.maximum(layer.fitness, 0).sum(), layer.upkeep.mean()
        if mean_upkeep > 0:
            most = min(most, math.floor(earned / mean_upkeep) - living)
        elif earned <= 0:
            most = 0
    most = max(0, most)
    if config["kind"] == "immigration":
        return [], most
    fit = [j for j in range(living) if layer.fitness[j] > mean]
    if config["rate"] == "upkeep":
        doubled = 2 * config["mass"]
        fit = [
            j for j in fit if layer.mass[j] >= doubled and layer.fitness[j] / 2 > layer.upkeep[j]
        ]
    fit.sort(key=lambda j: (-layer.fitness[j], j))
    return fit[:most], 0


def returning(config: dict, extinct: list[int], founded: int, order: np.ndarray, generation: int):
    """Return the ids of the extinct features that return, ascending.

    `order` are the features in random order; the first extinct ones return.
    """
    each = config["returns"] * founded
    most = math.floor(each * generation) - math.floor(each * (generation - config["every"]))
    if generation % config["every"]:
        return []
    return sorted([j for j in order.tolist() if j in extinct][:most])


def halves(weight: np.ndarray, z: np.ndarray, mutation: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of both halves of a population; `z` has one normal number per weight."""
    return weight * (1 + mutation * z), weight * (1 - mutation * z)


def with_newborn(old: np.ndarray, z: np.ndarray, deviation: float) -> np.ndarray:
    """Return an array of the shape of `z`: `old` in its first places, `deviation` * `z` elsewhere.

    `z` holds a normal number for each element of the new array. Newborn populations have the last
    indices of the axes that have become longer.
    """
    new = deviation * z
    new[tuple(slice(n) for n in old.shape)] = old
    return new
