"""Verify that removal is equivalent to zeroing, by running the model both ways.

Some populations of every axis are disabled, once by zeros in the weights that read them and once by
removal; the outputs must agree. For this, weights are set to random values, so that each one
matters, and restored afterwards. Sizes stored in modules, such as num_heads, are also found here.
In the names of this module, `population` means an axis of populations.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from evoprune.bridges.torch.errors import Unsupported
from evoprune.bridges.torch.populations import Piece, Population
from evoprune.bridges.torch.surgery import groups_left, module_sizes, set_sizes, take
from evoprune.bridges.torch.trace import drop_caches, evaluating, outputs, run

__all__ = ["Attribute", "verify"]

Attribute: TypeAlias = tuple[str, str]
"""Path of a module, and the name of one of its integer attributes."""

MOST_TRIED = 6  # maximum number of attributes of one axis tried in combination
TOLERANCE = 1e-2  # largest difference of outputs, relative to the effect of zeroing
FLOOR = 3e-6  # differences below this, relative to the output, are rounding errors
ATTEMPTS = 4  # number of attempts to find populations with an effect
LITTLE = "it has too little effect on the output to tell"
LEAST_EFFECT = 1e-5  # relative to the output: smaller effects are inconclusive


@dataclass
class _Trial:
    """Shared state of all trials of one model."""

    model: nn.Module
    example: Any
    populations: Sequence[Population]
    pieces: Sequence[Piece]
    generator: torch.Generator
    rules: dict[Attribute, tuple[int, int]]  # attribute -> (axis, attribute's value / axis size)

    def __post_init__(self) -> None:
        self.starts = list(itertools.accumulate((p.size for p in self.populations), initial=0))

    def differs(
        self, which: Sequence[int], extra: Mapping[Attribute, tuple[int, int]] | None = None
    ) -> str:
        """Remove 20 to 50 % of each axis in `which`; compare outputs with those after zeroing.

        Return how the outputs differ, "" if they agree. If zeroing has too small an effect, try
        other populations: a ReLU may hide some.
        """
        why = LITTLE
        for _ in range(ATTEMPTS):
            if why == LITTLE:
                why = self._differs(which, extra)
        return why

    def _differs(
        self, which: Sequence[int], extra: Mapping[Attribute, tuple[int, int]] | None
    ) -> str:
        alive = self._victims(which)
        undo: list[tuple[torch.Tensor, torch.Tensor]] = []
        numbers: list[tuple[nn.Module, str, int]] = []
        try:
            with torch.no_grad(), evaluating(self.model):
                base = self._outputs()
                self._zero(alive, undo)
                zeroed = self._outputs()
                self._cut(alive, undo, numbers)
                for (path, name), (i, multiple) in {**self.rules, **(extra or {})}.items():
                    if i in which:
                        module = self.model.get_submodule(path)
                        numbers.append((module, name, getattr(module, name)))
                        living = int(alive[self.starts[i] : self.starts[i + 1]].sum())
                        setattr(module, name, living * multiple)
                removed = self._outputs()
        except Exception as error:  # a forward pass may raise anything
            text = str(error).strip() or "no message"
            return f"{type(error).__name__}: {text.splitlines()[0][:120]}"
        finally:
            for tensor, data in reversed(undo):
                tensor.data = data
            for module, name, value in reversed(numbers):
                setattr(module, name, value)
        if removed.shape != zeroed.shape:
            return f"{removed.numel()} outputs, expected {zeroed.numel()}"
        size = float(base.abs().max()) or 1.0
        effect = float((base - zeroed).abs().max()) / size
        error_size = float((removed - zeroed).abs().max()) / size
        if not math.isfinite(size):
            return "outputs are not finite with random weights"
        if not effect >= LEAST_EFFECT:
            return LITTLE
        if error_size < max(TOLERANCE * effect, FLOOR):
            return ""
        return f"outputs differ by {error_size:.1g} of their size; zeros change {effect:.1g}"

    def _victims(self, which: Sequence[int]) -> torch.Tensor:
        alive = torch.ones(self.starts[-1] + 1, dtype=torch.bool)
        for i in which:
            n = self.populations[i].size
            share = 0.2 + 0.3 * float(torch.rand((), generator=self.generator))
            count = max(1, min(n - 1, round(n * share)))
            gone = torch.randperm(n, generator=self.generator)[:count]
            alive[self.starts[i] + gone] = False
        return alive

    def _outputs(self) -> torch.Tensor:
        drop_caches(self.model)
        found = [
            t.detach().double().reshape(-1).cpu()
            for t in outputs(run(self.model, self.example))
            if t.is_floating_point()
        ]
        if not found:
            raise Unsupported("the model returns no tensor of real numbers")
        return torch.cat(found)

    def _zero(self, alive: torch.Tensor, undo: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Zero the columns that read an extinct population."""
        for piece in self.pieces:
            if piece.reads is None:
                continue
            index = piece.staying(alive).get(piece.reads)
            if index is None:
                continue
            tensor = piece.tensor
            undo.append((tensor, tensor.data))
            data = torch.zeros_like(tensor.data)
            index = index.to(tensor.device)
            data.index_copy_(piece.reads, index, tensor.data.index_select(piece.reads, index))
            tensor.data = data

    def _cut(
        self,
        alive: torch.Tensor,
        undo: list[tuple[torch.Tensor, torch.Tensor]],
        numbers: list[tuple[nn.Module, str, int]],
    ) -> None:
        for piece in self.pieces:
            staying = piece.staying(alive)
            if not staying:
                continue
            groups = groups_left(piece, staying)
            if groups is not None:
                numbers.append((piece.owner, "groups", piece.owner.groups))
                piece.owner.groups = groups
            tensor = piece.tensor
            undo.append((tensor, tensor.data))
            tensor.data = take(tensor.data, staying)
        numbers += set_sizes(self.model)

    # ---- sizes stored in modules

    def candidates(self, i: int) -> dict[Attribute, tuple[int, int]]:
        """Find integer attributes that may store the size of axis i or a multiple of it.

        The search covers the modules that hold parameters of the axis and all modules around them,
        but not the attributes of PyTorch's own modules that are known to be sizes.

        Returns:
            attribute -> (i, value of the attribute / size of the axis).
        """
        population = self.populations[i]
        totals = {population.size * k for k in (1, 2, 3)}
        totals |= {slot.tensor.shape[dim] for slot, dim in population.owns}
        found: dict[Attribute, tuple[int, int]] = {}
        for slot, _ in population.owns:
            path = slot.name
            while path:
                path = path.rpartition(".")[0]
                module = self.model.get_submodule(path)
                standard = module_sizes(module)
                for name, value in vars(module).items():
                    if type(value) is not int or value < 2 or name.startswith("_"):
                        continue
                    if value in totals and value % population.size == 0 and name not in standard:
                        found[path, name] = (i, value // population.size)
        return found

    def kind(self, attribute: Attribute, multiple: int) -> tuple[type, str, int]:
        """Return a key shared by equivalent attributes of modules of the same class."""
        return type(self.model.get_submodule(attribute[0])), attribute[1], multiple


def verify(
    model: nn.Module,
    example: Any,
    populations: Sequence[Population],
    pieces: Sequence[Piece],
) -> tuple[list[int], dict[Attribute, tuple[int, int]], dict[str, str]]:
    """Check by removal that the traced axes of populations are correct.

    All axes are tried at once; only if that fails, halves of the axes are tried. Parameters,
    buffers, modes and random state are restored.

    Returns:
        Indices of the axes that can shrink; sizes stored in modules, as attribute -> (position in
        these indices, attribute's value / axis size); reasons by name for the other axes.
    """
    named = [*model.named_parameters(), *model.named_buffers()]
    before = [(tensor, tensor.detach().clone()) for _, tensor in named]
    generator = torch.Generator().manual_seed(0)
    trial = _Trial(model, example, populations, pieces, generator, {})
    try:
        _randomize(model, example, generator)
        failed = _sift(trial)
    finally:
        with torch.no_grad():
            for tensor, values in before:
                tensor.copy_(values)
    good = [i for i in range(len(populations)) if i not in failed]
    rules = {key: (good.index(i), k) for key, (i, k) in trial.rules.items() if i in good}
    reasons = {
        populations[i].name: f"removing some of its {populations[i].size} changes the model: {why}"
        for i, why in failed.items()
    }
    return good, rules, reasons


def _sift(trial: _Trial) -> dict[int, str]:
    """Return the axes for which removal differs from zeroing: index -> reason."""
    failed: dict[int, str] = {}
    hopeless: set[frozenset[tuple[type, str, int]]] = set()
    helped: set[tuple[type, str, int]] = set()

    def settle(i: int, why: str) -> None:
        found = trial.candidates(i)
        kinds = {key: trial.kind(key, multiple) for key, (_, multiple) in found.items()}
        sign = frozenset(kinds.values())
        known = [key for key in found if kinds[key] in helped]
        tries: list[Iterable[Attribute]] = [known] if known else []
        if sign not in hopeless:  # the same attributes have not failed for another axis
            keys = sorted(found, key=lambda key: ("head" not in key[1], found[key][1]))
            tries += [
                some
                for n in range(1, min(MOST_TRIED, len(keys)) + 1)
                for some in itertools.combinations(keys[:MOST_TRIED], n)
            ]
        for some in tries:
            extra = {key: found[key] for key in some}
            if not trial.differs([i], extra):
                trial.rules.update(extra)
                helped.update(kinds[key] for key in extra)
                return
        hopeless.add(sign)
        failed[i] = why

    def check(which: Sequence[int]) -> None:
        extra = {
            key: value
            for i in which
            for key, value in trial.candidates(i).items()
            if trial.kind(key, value[1]) in helped
        }
        if extra and not trial.differs(which, extra):
            trial.rules.update(extra)
            return
        why = trial.differs(which)
        if why and len(which) > 1:
            half = len(which) // 2
            check(which[:half])
            check(which[half:])
        elif why:
            settle(which[0], why)

    everyone = list(range(len(trial.populations)))
    check(everyone)
    good = [i for i in everyone if i not in failed]
    if good and trial.differs(good):  # axes that can each shrink must also shrink together
        together: list[int] = []
        for i in good:
            why = trial.differs([*together, i])
            if why:
                failed[i] = f"together with others, {why}"
            else:
                together.append(i)
    return failed


@torch.no_grad()
def _randomize(model: nn.Module, example: Any, generator: torch.Generator) -> None:
    """Set weights to random values so that each one matters: initial zeros would hide errors.

    Matrices get He initialization; running statistics are computed from the example.
    """
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if not tensor.is_floating_point():
            continue
        if tensor.ndim < 2:
            values = torch.rand(tensor.shape, generator=generator) + 0.5
            if name.endswith(("bias", "mean")):
                values = 0.2 * (values - 1)
        else:
            values = torch.randn(tensor.shape, generator=generator)
            values *= math.sqrt(2 / max(1, tensor[0].numel()))
        tensor.copy_(values)
    norms = [m for m in model.modules() if isinstance(m, _NormBase) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    with evaluating(model):
        for norm in norms:
            norm.train()
            norm.momentum = 1.0
        try:
            run(model, example)
        except ValueError:  # a norm over one value per channel: the example has one sample
            pass
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
    for norm in norms:
        if norm.running_var is not None:
            norm.running_var.clamp_(min=1e-3)
