"""Groups of a model that must be pruned together: the PyTorch bridge against torch-pruning.

    python experiments/torch_groups.py    needs torchvision, timm, transformers, torch-pruning

The models are those of tests/test_torch_zoo.py, with random weights in float64. A group is right if
removing some of its members gives the same outputs as zeros in the weights that read them. The
bridge checks this itself, and does not prune groups that fail; then half of all its populations
are removed at once. torch-pruning, with its defaults, chooses and prunes a third of every group.
Its wrong groups are skipped and counted by cause: "norm", a norm layer normalizes the members
together, so that their removal cannot give the same outputs as zeros; "heads", the pruned layer is
part of an attention module, and torch-pruning needs the number of heads as an argument; "crashed",
pruning or the forward pass fails for another reason; "changed", the outputs differ for another
reason.

Options: `--quick` runs three models, `--minutes N` stops after that time, `--only NAME ...` runs
some models. Results are stored in results/torch_groups.json; models in it are not run again.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch
import torch_pruning as tp
from torch import nn

import evoprune.torch as ept

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "benchmarks")]

import common  # noqa: E402
import test_torch_zoo as zoo  # noqa: E402

RESULTS = Path(__file__).resolve().parent / "results" / "torch_groups.json"
CHANGED = 1e-5  # least difference, relative to the largest output, that counts as a change
MOST_WRONG = 6  # a model is given up after this number of wrong groups
SECONDS = 60  # limit of processor time per model
# A module with one of these attributes counts as an attention module.
HEADS = {"num_heads", "n_heads", "num_attention_heads", "heads", "head_dim"}
CAUSES = ("changed", "crashed", "norm", "heads")
MODELS = {
    **{f"transformers {name}": (zoo.transformers_model, name) for name in zoo.TRANSFORMERS},
    **{f"torchvision {name}": (zoo.torchvision_model, name) for name in zoo.TORCHVISION},
    **{f"timm {name}": (zoo.timm_model, name) for name in zoo.TIMM},
}


def build(name: str) -> tuple[nn.Module, Any]:
    """Return a model in float64 whose weights all have an effect, and an example input."""
    torch.manual_seed(0)
    make, key = MODELS[name]
    model, example, *_ = make(key)
    model = model.double().eval()
    if hasattr(model, "config"):
        model.config.use_cache = False  # torch-pruning does not support a cache of keys and values
    for p in model.parameters():  # zeros would hide errors: redraw them, and all vectors
        if not p.detach().any() or p.ndim < 2:
            nn.init.uniform_(p, 0.1, 0.5)
    return model, zoo._double(example)


@torch.no_grad()
def outputs(model: nn.Module, example: Any) -> torch.Tensor:
    with zoo.evaluating(model):
        return torch.cat([t.reshape(-1) for t in zoo._real(zoo.run(model, example))])


def differ(before: torch.Tensor, after: torch.Tensor) -> bool:
    return bool((after - before).abs().max() > CHANGED * before.abs().max())


# ---- groups of the bridge ----------------------------------------------------------------------


def by_bridge(name: str) -> dict[str, Any]:
    model, example = build(name)
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    selection = zoo.SELECTION.replace(clock="steps")
    evolution = ept.Evolution(model, optimizer, example, selection)
    refused = [why for why in evolution.why.values() if "changes the model" in why]
    zoo.steps(model, optimizer, example, zoo.HALF_DIE)
    before = outputs(model, example)
    evolution.compact()
    wrong = differ(before, outputs(model, example))
    return {
        "populations": len(evolution.born),
        "refused": len(refused),
        "wrong": wrong,
        "share": evolution.macs / evolution.founding_macs,
    }


# ---- groups of torch-pruning -------------------------------------------------------------------


def pruner_of(model: nn.Module, example: Any) -> Any:
    seen: list[tuple[nn.Module, torch.Tensor]] = []
    handles = [
        module.register_forward_hook(lambda m, _, out: seen.append((m, out)))
        for module in model.modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ]
    results = zoo._real(zoo.run(model, example))
    for handle in handles:
        handle.remove()
    last = [m for m, out in seen if any(out is t for t in results)]
    last.append(seen[-1][0])  # do not prune the last layer, even if a pooling layer follows it
    return tp.pruner.BasePruner(
        model,
        example,
        importance=tp.importance.RandomImportance(),
        pruning_ratio=1 / 3,
        ignored_layers=last,
        forward_fn=zoo.run,
        output_transform=lambda out: sum(t.sum() for t in zoo._real(out)),
    )


@torch.no_grad()
def zero(group: Any) -> None:
    """Set the weights that read the members of a group to 0."""
    for dependency, indices in group:
        layer, pruned = dependency.target.module, dependency.handler.__name__
        if "in_channels" not in pruned:
            continue
        taken = list(indices)
        if isinstance(layer, nn.MultiheadAttention):
            layer.in_proj_weight[:, taken] = 0
        elif getattr(layer, "transposed", False):
            layer.weight[taken] = 0
        elif getattr(layer, "groups", 1) > 1:
            by_group = layer.weight.view(layer.groups, -1, *layer.weight.shape[1:])
            for i in taken:
                each = layer.weight.shape[1]
                by_group[i // each, :, i % each] = 0
        elif isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            layer.weight[:, taken] = 0


def through_norm(model: nn.Module, group: Any) -> bool:
    """Return whether a group contains a LayerNorm, RMSNorm or GroupNorm, or their parameters."""
    norms = [m for m in model.modules() if re.search("(Layer|RMS|Group)Norm", type(m).__name__)]
    known = {id(each) for norm in norms for each in (norm, *norm.parameters(recurse=False))}
    return any(id(dependency.target.module) in known for dependency, _ in group)


def in_attention(model: nn.Module, root: str) -> bool:
    """Return whether the layer `root`, whose outputs a group prunes, is in an attention module."""
    for _ in range(2):
        root = root.rpartition(".")[0]
        if HEADS & set(vars(model.get_submodule(root))):
            return True
    return False


def root_of(group: Any) -> str:
    """Return the name of the layer whose outputs a group prunes."""
    return str(group[0].dep.target.name.partition(" ")[0])


def by_torch_pruning(name: str) -> dict[str, Any]:
    counts = {"groups": 0, **dict.fromkeys(CAUSES, 0), "whole": False, "error": ""}
    skip: set[str] = set()
    wrong: list[str] = []
    try:
        while len(wrong) < MOST_WRONG:
            torch.manual_seed(1)
            model, example = build(name)
            pruner = pruner_of(model, example)
            right, found = prune_all(model, example, pruner, skip)
            if found in CAUSES:
                wrong.append(found)
                counts[found] += 1
            counts["groups"] = right + len(wrong)
            if not found:
                counts["whole"] = True
                break
    except Exception as error:  # torch-pruning cannot trace the model, or the time limit is reached
        counts["error"] = f"{type(error).__name__}: {str(error)[:80]}"
    return counts


def prune_all(model: nn.Module, example: Any, pruner: Any, skip: set[str]) -> tuple[int, str]:
    """Prune one group after another, until a group is wrong (defined at the top of this file).

    Returns:
        The number of right groups, and why pruning stopped: the cause, one of CAUSES, if a group
        is wrong; "output" if a group changes the shape of the model's outputs, which does not count
        as wrong; "" after the last group. The name of the root layer of a group that stops pruning
        is added to `skip`.
    """
    right = 0
    for group in pruner.step(interactive=True):
        root = root_of(group)
        if root in skip:
            continue
        crashed, normed = False, through_norm(model, group)
        before = after = torch.empty(0)
        try:
            zero(group)
            before = outputs(model, example)
            group.prune()
            after = outputs(model, example)
        except TimeoutError:
            raise
        except Exception:  # a forward pass may raise anything
            crashed = True
        if not crashed and before.shape != after.shape:
            skip.add(root)
            return right, "output"
        if crashed or differ(before, after):
            skip.add(root)
            if normed and not crashed:
                return right, "norm"
            if in_attention(model, root):
                return right, "heads"
            return right, "crashed" if crashed else "changed"
        right += 1
    return right, ""


# ---- results -----------------------------------------------------------------------------------


def read() -> dict[str, Any]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def limited(run: Any, name: str) -> Any:
    def stop(*_: Any) -> None:
        raise TimeoutError(f"more than {SECONDS} s of processor time")

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        return run(name)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def show(rows: dict[str, Any]) -> None:
    """Print a table for docs/howto/pytorch_measured.md, and totals."""
    print("| model | populations | refused | groups | changed | crashed | norm | heads |")
    print("|---|---|---|---|---|---|---|---|")
    for name, row in rows.items():
        a, b = row["bridge"], row["torch-pruning"]
        groups = f"{b['groups']}{'' if b['whole'] else '+'}"
        if b["error"]:
            timed_out = b["error"].startswith("TimeoutError")
            groups = f"no answer in {SECONDS} s" if timed_out else b["error"].partition(":")[0]
        cells = [
            f"{a['populations']}{' (wrong)' if a['wrong'] else ''}",
            a["refused"] or "",
            groups,
        ]
        cells += [b[each] or "" for each in CAUSES]
        print(f"| {name} | {' | '.join(map(str, cells))} |")
    ours = [row["bridge"] for row in rows.values()]
    theirs = [row["torch-pruning"] for row in rows.values()]
    sums = {each: sum(row[each] for row in theirs) for each in ("groups", *CAUSES)}
    whole = sum(
        row["whole"] and row["groups"] > 0 and not any(row[each] for each in CAUSES)
        for row in theirs
    )
    errors = sum(bool(row["error"]) for row in theirs)
    print(
        f"{len(rows)} models; bridge: {sum(row['populations'] for row in ours)} populations, "
        f"{sum(row['refused'] for row in ours)} refused, {sum(row['wrong'] for row in ours)} models"
        f" changed; torch-pruning: {sums}, {errors} models without an answer, {whole} all right"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    end = time.time() + 60 * arguments.minutes
    rows = {} if arguments.quick else read()
    for name in list(MODELS)[:: 20 if arguments.quick else 1]:
        if name in rows or time.time() > end or (arguments.only and name not in arguments.only):
            continue
        row = {"torch-pruning": limited(by_torch_pruning, name), "bridge": by_bridge(name)}
        print(name, row, flush=True)
        rows[name] = row
        if not arguments.quick:
            RESULTS.write_text(common.as_json({k: rows[k] for k in MODELS if k in rows}))
    show(rows)


if __name__ == "__main__":
    main()
