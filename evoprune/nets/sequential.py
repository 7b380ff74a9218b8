"""`Sequential`: a network made of a list of layers."""

from __future__ import annotations

from collections.abc import Sequence

from evoprune.common.checks import items, whole
from evoprune.common.renames import spelled
from evoprune.nets.arrangements import Chain
from evoprune.nets.described import Dtype
from evoprune.nets.network import Network
from evoprune.nets.plan import Nodes, Plan

__all__ = ["Sequential"]


@spelled
class Sequential(Network):
    """A network made of a sequence of layers.

    Args:
        layers: layers (`Dense(10)`), shorthands (`neurons(512)`), or lists of them.
        input: the shape of one sample, without the batch axis; features last.
        seed: seed of the initial weights and of shuffling.
        dtype: "float32" or "float64".

    Raises:
        ValueError, TypeError: a layer is invalid; the message names the layer and the setting,
            and says what was expected.
    """

    def __init__(
        self,
        layers: Nodes,
        *,
        input: int | Sequence[int],  # noqa: A002 - the common name
        seed: int = 0,
        dtype: Dtype = "float32",
    ) -> None:
        plan = Plan()
        (layers if isinstance(layers, Chain) else Chain(layers)).build(plan, "input")
        single = not hasattr(input, "__len__") or getattr(input, "shape", None) == ()
        sizes = [whole("input", n, 1) for n in ([input] if single else items("input", input))]
        super().__init__({"seed": seed, "input": sizes, "layers": plan.layers}, dtype)
