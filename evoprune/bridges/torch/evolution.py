"""Evolution: selection on a module that the user trains in their own loop.

A generation is part of `optimizer.step()`. Between steps the module holds W m, its weights W times
the masses m, so it is an ordinary module: nothing is added to forward or backward.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import distributed, nn

from evoprune import History, Selection
from evoprune.bridges.torch import checks, files
from evoprune.bridges.torch.attention import free_heads
from evoprune.bridges.torch.chronicle import Chronicle
from evoprune.bridges.torch.errors import RanksDisagree, Unsupported
from evoprune.bridges.torch.inspection import inspect
from evoprune.bridges.torch.laws import Generation, Laws, Number, make_laws
from evoprune.bridges.torch.pace import Pace
from evoprune.bridges.torch.placement import Placement
from evoprune.bridges.torch.populations import Piece
from evoprune.bridges.torch.readings import Readings
from evoprune.bridges.torch.signals import check_laws, measure
from evoprune.bridges.torch.sizes import Sizes
from evoprune.bridges.torch.surgery import (
    check_optimizer_state,
    rebuild_ddp,
    remove,
    reset_compiled,
    set_sizes,
    silence,
)
from evoprune.bridges.torch.trace import drop_caches
from evoprune.common.checks import instance, number, whole
from evoprune.common.renames import spelled

__all__ = ["Evolution"]

FORMAT = 1  # version of the format of state_dict


@spelled
class Evolution(Readings):
    """Selection on the neurons, channels and heads of a module while an optimizer trains it.

        evolution = evoprune.torch.Evolution(model, optimizer, example)
        ...  # the loop as it was: loss.backward(); optimizer.step(); optimizer.zero_grad()
        small = evolution.close()

    Attributes:
        model: the module, without wrappers.
        born: number of populations of each axis (neurons of a layer, channels, heads) at birth. Its
            keys are names of axes: the name of the module whose weights write the axis.
        why: every dimension that cannot evolve, with the reason.
        selection: the settings of selection, with numbers for time constants that were None.
        history: an `evoprune.History` of deaths, masses, and the columns passed to `log`.
        steps: optimizer steps so far.
        compactions: removals so far.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer],
        example: Any,
        selection: Selection | None = None,
        *,
        include: Iterable[str] | None = None,
        fixed: Iterable[str] = (),
        inner: bool = False,
        steps: int | None = None,
        terms: int | None = None,
        check_every: int | None = None,
        patience: float = 5.0,
        wrap: Callable[[nn.Module], nn.Module] | None = None,
        seed: int = 0,
    ) -> None:
        """Find the populations of a model, check them by removal, and begin selection.

        Args:
            model: a module with float32 or float64 parameters; it may be wrapped in
                DistributedDataParallel or compiled.
            optimizer: one optimizer or several. A generation runs once all of them have stepped.
            example: inputs of one forward pass: a tensor, a tuple of arguments or a dict of keyword
                arguments; two samples or more. It is only used here.
            selection: the settings of selection; `Selection()` if not given.
            include: names of modules whose populations may evolve, including submodules; by
                default all.
            fixed: names of modules whose populations may not evolve.
            inner: let several factors of one dimension evolve, such as heads and the dimensions in
                a head; otherwise only the outermost does.
            steps: optimizer steps of the whole run; needed for schedules of pressure, a Budget, or
                rest. A lifespan of None is in proportion to the run; without `steps` it is 700
                generations. With a learning-rate scheduler, only half of the steps count for the
                lifespan; create the scheduler first, so that it is found.
            terms: samples in the loss of a step; needed for fitness "worth".
            check_every: steps between checks for extinct populations; a check waits for the device
                and for other processes. By default 1 for one process on the CPU, else 20.
            patience: extinct populations are removed when the work wasted on them since the last
                removal equals the work of this number of steps.
            wrap: function that wraps the module in a DistributedDataParallel, called after every
                removal. Needed if the DistributedDataParallel has settings other than defaults.
            seed: seed of laws that draw random numbers.

        Raises:
            Unsupported: nothing in the model can evolve (reasons are listed), or the model, the
                optimizer or the selection is not supported.
        """
        if selection is not None:
            instance("selection", selection, Selection)
        self.selection = selection or Selection()
        self.model, self._ddp = checks.unwrap(model)
        self._optimizers = checks.plain_optimizers(optimizer)
        self.patience = number("Evolution: patience", patience, 0, 1e12)
        self._wrap, self._terms = wrap, terms
        checks.parameters(model)
        check_laws(self.selection, terms, len(self._optimizers))
        device = next(self.model.parameters()).device
        if check_every is None:
            check_every = 1 if device.type == "cpu" and self._ddp is None else 20
        self.check_every = whole("Evolution: check_every", check_every, 1)
        if steps is not None:
            steps = whole("Evolution: steps", steps, 1)
        self._pace = Pace(self.selection, self._optimizers, steps)
        self.selection = self._pace.selection

        found = inspect(
            self.model,
            example,
            include=include,
            fixed=fixed,
            inner=inner,
            trained=checks.trained_parameters(self._optimizers),
        )
        if not found.born:
            raise Unsupported(f"model: nothing can evolve{found.reasons()}")
        self.why, self.born, self.kinds = found.why, found.born, found.kinds
        self._pieces, self._attributes = found.pieces, found.attributes
        self._starts = np.cumsum([0, *self.born.values()])
        self._sizes = Sizes(self._pieces, self.born)
        self._placement = Placement(self._pieces, int(self._starts[-1]), device)
        self._laws: Laws = make_laws(self.born, self.selection, device, seed)
        self._chronicle = Chronicle(self.born, steps, repr(self.selection))
        self._cost: torch.Tensor | None = None
        self._price(self._alive())

        self.steps = self.compactions = 0
        self._present = torch.ones(int(self._starts[-1]), dtype=torch.bool)
        self._waste = self._idle = 0.0
        self._followers: list[nn.Module] = []
        if self._pace.budget is not None:
            self._pace.begin(self._size())
        self._changes: dict[int, torch.Tensor] = {}  # optimizer index -> its part of m dL/dm
        self._open: dict[int, FrameType] = {}  # optimizer index -> frame of its running step()
        self._stepped: set[int] = set()  # optimizers that have stepped since the last generation
        self._checked = False
        self._handles = []
        trained = [{id(p) for g in o.param_groups for p in g["params"]} for o in self._optimizers]
        self._readers = [
            [i for i, piece in enumerate(self._placement.readers) if id(piece.tensor) in ids]
            for ids in trained
        ]
        for k, each in enumerate(self._optimizers):
            self._handles += [
                each.register_step_pre_hook(self._before(k)),
                each.register_step_post_hook(self._after(k)),
            ]

    # ---- a generation, around the optimizer's step

    def _before(self, k: int) -> Callable[..., Any]:
        """Return a hook that runs before each step of optimizer k and divides weights by masses."""

        def hook(
            optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
            frame = sys._getframe(1)
            if k in self._open:
                if _called_within(frame, self._open[k]):
                    return None  # step() called by a subclass's step()
                self._multiply(self._readers[k])  # undo divide(): the previous step failed
            checks.no_capture(self._laws.mass.device)
            changed = checks.call_closure(optimizer, args, kwargs, lambda: self._undo(k))
            with torch.no_grad():
                if (self.steps + 1) % self.selection.every == 0:
                    change = self._placement.measure(self._readers[k], self._laws.mass.dtype)
                    scale = getattr(optimizer, "grad_scale", None)
                    self._changes[k] = change if scale is None else change / scale
                self._placement.divide(self._laws.mass, self._readers[k])
            self._open[k] = frame
            return changed

        return hook

    def _after(self, k: int) -> Callable[..., None]:
        """Return a hook that runs after each step of optimizer k and multiplies weights by masses.

        Once all optimizers have stepped, it runs a generation first.
        """

        def hook(
            optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> None:
            if self._open.get(k) is not sys._getframe(1):
                return
            del self._open[k]
            if not self._checked:
                check_optimizer_state(optimizer)
            self._stepped.add(k)
            if len(self._stepped) < len(self._optimizers):
                self._multiply(self._readers[k])
            else:
                self._finish_step(k)

        return hook

    @torch.no_grad()
    def _finish_step(self, k: int) -> None:
        """Run a generation, multiply the weights by the new masses, and check for extinctions.

        Args:
            k: index of the optimizer that stepped last; the weights of the other
                optimizers have been multiplied already.
        """
        self._stepped.clear()
        self._checked = True
        strength = self._pace.strength_at(self.steps)  # also stores the peak learning rate
        self.steps += 1
        if self.steps % self.selection.every == 0:
            others = [i for j, ids in enumerate(self._readers) if j != k for i in ids]
            before = self._laws.mass.clone() if others else self._laws.mass
            self._generation(strength)
            if others:
                ratio = torch.where(before > 0, self._laws.mass / before.clamp_min(1e-30), 0.0)
                self._placement.multiply(ratio, others, ratio=True)
        self._multiply(self._readers[k])
        self._chronicle.step(np.nan)
        if self.steps % self.check_every == 0:
            self._look()
        if self._pace.steers_at(self.steps):
            self._pace.steer(self.steps, self._size(), self._masses)

    def _undo(self, k: int) -> None:
        """Multiply the weights of optimizer k by the masses again, after a failed step."""
        self._multiply(self._readers[k])
        self._open.pop(k, None)

    @torch.no_grad()
    def _multiply(self, readers: Sequence[int]) -> None:
        """Multiply weights that read populations by the masses; `readers`: see placement.py."""
        self._placement.multiply(self._laws.mass, readers)

    def _generation(self, strength: Number) -> None:
        """Measure fitness and apply the laws."""
        changes = list(self._changes.values())
        change = changes[0] if len(changes) == 1 else torch.stack(changes).sum(0)
        self._changes.clear()
        signals = measure(self.selection, self._placement, change, self._laws.mass)
        now = Generation(
            self.steps,
            strength,
            self._pace.pressure_at(self.steps - 1),
            self._cost,
            self._terms or 1,
        )
        self._laws.step(signals, now)

    def _look(self) -> None:
        """Record extinctions, and remove extinct populations once removal saves work."""
        deaths = self._laws.deaths()
        self._chronicle.flush(deaths, self._laws, self.steps)
        if not deaths and self._ddp is None and not self._idle:
            return
        alive = self._alive()
        if deaths:
            extended = torch.cat([alive, torch.ones(1, dtype=torch.bool)])
            for piece in self._placement.pieces:
                silence(piece, piece.staying(extended), self._optimizers)
            self._price(alive)
            living = self._sizes.total("macs", alive)
            present = self._sizes.total("macs", self._present)
            self._idle = 1 - living / present if present else 1.0
        self._compare_ranks(alive)
        removal = self.selection.removal
        if removal == "never" or torch.equal(self._present, alive):
            return
        self._waste += self.check_every * self._idle
        if removal == "always" or self._waste >= self.patience:
            self._remove(alive)

    def _price(self, alive: torch.Tensor) -> None:
        """Set every founder's share of the cost, if upkeep depends on costs."""
        s = self.selection
        total = int(self._starts[-1])
        if not isinstance(s.upkeep, str):
            if len(s.upkeep) != total:
                raise Unsupported(
                    f"selection: expected an upkeep for each of {total} populations, "
                    f"got {len(s.upkeep)}"
                )
            self._cost = torch.tensor(s.upkeep, dtype=torch.float64)
        elif s.upkeep == "uniform":
            self._cost = torch.full((total,), 1 / total, dtype=torch.float64)
        elif s.upkeep != "soft" or s.niche == "network":
            self._cost = self._sizes.shares("params" if s.upkeep == "params" else "macs", alive)
        if self._cost is not None:
            self._cost = self._cost.to(self._laws.mass.device)

    # ---- removal

    @torch.no_grad()
    def compact(self) -> None:
        """Remove extinct populations from model, optimizers and copies of the model (see `follow`).

        Raises:
            RanksDisagree: processes of a DistributedDataParallel found different populations alive;
                nothing was removed.
        """
        alive = self._alive()
        self._compare_ranks(alive)
        if not torch.equal(alive, self._present):
            self._remove(alive)

    def _remove(self, alive: torch.Tensor) -> None:
        """Remove the populations that are not alive, and rebuild a DistributedDataParallel."""
        checks.same_parameters(self.model, self._pieces)
        if self._ddp is not None:
            del self._ddp.reducer, self._ddp.logger
        self._cut(alive)
        if self._ddp is not None:
            rebuild_ddp(self._ddp, self._wrap)
        self.compactions += 1

    def _cut(self, alive: torch.Tensor) -> None:
        """Shrink the arrays of the model, its copies and the optimizers to living populations.

        Args:
            alive: bool (founders,); False for the populations to remove.
        """
        extended = torch.cat([alive, torch.ones(1, dtype=torch.bool)])
        for piece in self._pieces:
            staying = piece.staying(extended)
            if not staying:
                continue
            for follower in self._followers:
                owner = follower.get_submodule(piece.name.rpartition(".")[0])
                remove(Piece(piece.name, owner, piece.attribute, piece.trained, 0.0), staying)
            remove(piece, staying, self._optimizers)
            for dim, index in staying.items():
                piece.places[dim] = [places[index] for places in piece.places[dim]]
        for model in (self.model, *self._followers):
            set_sizes(model)
            drop_caches(model)
            for (path, name), (i, multiple) in self._attributes.items():
                living = int(alive[self._starts[i] : self._starts[i + 1]].sum())
                setattr(model.get_submodule(path), name, living * multiple)
        self._placement.rebuild()
        self._present = alive.clone()
        self._waste = self._idle = 0.0
        reset_compiled()

    def _compare_ranks(self, alive: torch.Tensor) -> None:
        """Check that all processes have the same populations alive."""
        if self._ddp is None:
            return
        seen = torch.stack([alive, ~alive]).to(device=self._laws.mass.device, dtype=torch.int32)
        group = self._ddp.process_group
        distributed.all_reduce(seen, distributed.ReduceOp.MAX, group=group)
        differing = int(seen.all(0).sum())
        if differing:
            raise RanksDisagree(
                f"ranks: expected the same populations alive, {differing} differ; all ranks need "
                "the same weights and selection at the start, and gradients averaged over ranks"
            )

    def follow(self, model: nn.Module) -> None:
        """Apply all later removals to a copy of the model too, such as an average of its weights.

        Args:
            model: a module with the same parameters, or torch.optim.swa_utils.AveragedModel.
        """
        inner = checks.unwrap(getattr(model, "module", model))[0]
        for module in inner.modules():
            free_heads(module)
        checks.same_shapes(self.model, inner)
        self._followers.append(inner)

    def close(self) -> nn.Module:
        """End selection: remove extinct populations and all hooks; return the smaller module."""
        if self._handles:
            self._chronicle.flush(self._laws.deaths(), self._laws, self.steps)
            self._chronicle.record(self.steps, self._laws)
            if self.selection.removal != "never":
                self.compact()
        for handle in self._handles:
            handle.remove()
        self._handles = []
        return self.model

    # ---- history

    @property
    def history(self) -> History:
        """The history: deaths, masses over time, and the columns passed to `log`."""
        return self._chronicle.history

    def log(self, **columns: float) -> None:
        """Append a row to the columns of `history`, for example at the end of an epoch.

        In addition to the given columns (loss, accuracy, validation_accuracy, ...) the row has
        epoch, step, alive, macs, parameters, rate, pressure and strength.
        """
        self._chronicle.flush(self._laws.deaths(), self._laws, self.steps)
        rate = float(self._optimizers[0].param_groups[0]["lr"])
        alive = self.alive
        row = {
            "loss": np.nan,
            **columns,
            "alive": float(sum(alive.values())),
            **{f"alive.{name}": float(n) for name, n in alive.items()},
            "macs": self.macs,
            "parameters": float(self.parameters),
            "rate": rate,
            "pressure": self._pace.pressure_at(max(0, self.steps - 1)),
        }
        self._chronicle.row(self.steps, row, self._laws)

    # ---- save and load

    def save(self, path: str | PathLike[str]) -> None:
        """Remove extinct populations and write the model to one safetensors file; see `load`.

        The file holds the arrays; its header holds the shapes, the sizes stored in modules, and the
        birth ids of the survivors. It is written atomically.
        """
        self.compact()
        survivors = {name: self.births(name).tolist() for name in self.born}
        numbers = {
            f"{module}.{name}".lstrip("."): getattr(self.model.get_submodule(module), name)
            for module, name in self._attributes
        }
        files.save(self.model, path, survivors, numbers)

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state of selection as tensors and plain values.

        torch.save writes it and torch.load(weights_only=True) reads it.
        """
        return {
            "format": FORMAT,
            "born": dict(self.born),
            "present": self._present.clone(),
            "laws": self._laws.state_dict(),
            "pace": self._pace.state_dict(),
            "history": self._chronicle.state_dict(),
            "counts": [self.steps, self.compactions],
            "waste": [self._waste, self._idle],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a saved state: shrink the model to its shape and set masses and fitness.

        Call it on an Evolution of a model of founding size. Load the states of the model and the
        optimizer afterwards; they have the smaller shapes.

        Raises:
            ValueError: the state is of another model; nothing has changed.
        """
        if state.get("format") != FORMAT:
            got = state.get("format")
            raise ValueError(f"state: expected format {FORMAT}, got {got!r}")
        if dict(state["born"]) != self.born:
            raise ValueError(f"state: expected populations {self.born}, got {state['born']}")
        if not bool(self._present.all()):
            raise ValueError("state: expected a model of founding size, got one that was cut")
        self._pace.load_state_dict(state["pace"])
        self._laws.load_state_dict(state["laws"])
        self._chronicle.load_state_dict(state["history"])
        self._cut(state["present"])
        if self._ddp is not None:
            del self._ddp.reducer, self._ddp.logger
            rebuild_ddp(self._ddp, self._wrap)
        self.steps, self.compactions = state["counts"]
        self._waste, self._idle = state["waste"]
        self._price(self._alive())


def _called_within(frame: FrameType | None, outer: FrameType) -> bool:
    """True if the call of `frame` was made, at any depth, within the call of `outer`."""
    while frame is not None and frame is not outer:
        frame = frame.f_back
    return frame is not None
