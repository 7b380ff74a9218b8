"""Groups of a model that must be pruned together: the PyTorch bridge against torch-pruning.

    python experiments/torch_groups.py    needs torchvision, timm, transformers, torch-pruning

The models are those of tests/test_torch_zoo.py, with random weights in float64. A group is right if
removing some of its members gives the outputs that zeros in the weights which read them give. The
bridge checks that itself, and fixes what fails; then half of all its populations are removed at
once. torch-pruning chooses and prunes a third of every group, out of the box; a group that crashes
or changes the outputs is counted, and left out after that. `--quick` takes three models, `--minutes
N` stops then. Results: results/torch_groups.json; a model that is there is not run again.
"""

from __future__ import annotations

import argparse
import json
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
sys.path.insert(0, str(ROOT / "tests"))

import test_torch_zoo as zoo  # noqa: E402

RESULTS = Path(__file__).resolve().parent / "results" / "torch_groups.json"
CHANGED = 1e-5  # of the largest output
MOST_WRONG = 6  # per model; torch-pruning restarts after each
SECONDS = 40  # processor time per model
MODELS = {
    **{f"transformers {name}": (zoo.transformers_model, name) for name in zoo.TRANSFORMERS},
    **{f"torchvision {name}": (zoo.torchvision_model, name) for name in zoo.TORCHVISION},
    **{f"timm {name}": (zoo.timm_model, name) for name in zoo.TIMM},
}


def build(name: str) -> tuple[nn.Module, Any]:
    """Return a model in float64 whose weights all have an effect, and an example."""
    torch.manual_seed(0)
    make, key = MODELS[name]
    model, example, *_ = make(key)
    model = model.double().eval()
    for p in model.parameters():  # initial zeros would hide errors
        if not p.detach().any() or p.ndim < 2:
            nn.init.uniform_(p, 0.1, 0.5)
    return model, zoo._double(example)


@torch.no_grad()
def outputs(model: nn.Module, example: Any) -> torch.Tensor:
    with zoo.evaluating(model):
        return torch.cat([t.reshape(-1) for t in zoo._real(zoo.run(model, example))])


def differ(before: torch.Tensor, after: torch.Tensor) -> bool:
    return bool((after - before).abs().max() > CHANGED * before.abs().max())


# ---- the bridge --------------------------------------------------------------------------------


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


# ---- torch-pruning -----------------------------------------------------------------------------


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
    last.append(seen[-1][0])  # a pool may follow it
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
        if (
            isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d)
            and getattr(layer, "groups", 1) == 1
        ):
            layer.weight[:, list(indices)] = 0
        elif isinstance(layer, nn.MultiheadAttention):
            layer.in_proj_weight[:, list(indices)] = 0


def by_torch_pruning(name: str) -> dict[str, Any]:
    counts = {"groups": 0, "changed": 0, "crashed": 0, "whole": False, "error": ""}
    skip: set[str] = set()
    try:
        while len(skip) < MOST_WRONG:
            torch.manual_seed(1)
            model, example = build(name)
            pruner = pruner_of(model, example)
            counts["groups"] = counts["changed"] + counts["crashed"]
            if prune_all(model, example, pruner, counts, skip):
                counts["whole"] = True
                break
    except Exception as error:  # of the graph, or of the time limit
        counts["error"] = f"{type(error).__name__}: {str(error)[:80]}"
    return counts


def prune_all(model: nn.Module, example: Any, pruner: Any, counts: Any, skip: set[str]) -> bool:
    """Prune group after group; return False after a wrong one, whose name is added to `skip`."""
    for group in pruner.step(interactive=True):
        root = group[0].dep.target.name.partition(" ")[0]
        if root in skip:
            continue
        try:
            zero(group)
            before = outputs(model, example)
            group.prune()
            after = outputs(model, example)
        except TimeoutError:
            raise
        except Exception:  # a forward pass may raise anything
            counts["crashed"] += 1
            skip.add(root)
            return False
        if before.shape != after.shape:  # the group of an output
            skip.add(root)
            return False
        if differ(before, after):
            counts["changed"] += 1
            skip.add(root)
            return False
        counts["groups"] += 1
    return True


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
    print("| model | populations | refused by the check | groups | changed outputs | crashed |")
    print("|---|---|---|---|---|---|")
    for name, row in rows.items():
        a, b = row["bridge"], row["torch-pruning"]
        more = "" if b["whole"] else " or more"
        groups = f"{b['groups']}{more}" if not b["error"] else b["error"].partition(":")[0]
        print(
            f"| {name} | {a['populations']}{' (wrong)' if a['wrong'] else ''} | {a['refused']} | "
            f"{groups} | {b['changed'] or ''} | {b['crashed'] or ''} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    end = time.time() + 60 * arguments.minutes
    rows = {} if arguments.quick else read()
    for name in list(MODELS)[:: 20 if arguments.quick else 1]:
        if name in rows or time.time() > end:
            continue
        row = {"torch-pruning": limited(by_torch_pruning, name), "bridge": by_bridge(name)}
        print(name, row, flush=True)
        rows[name] = row
        if not arguments.quick:
            lines = ",\n".join(
                f"{json.dumps(k)}: {json.dumps(rows[k])}" for k in MODELS if k in rows
            )
            RESULTS.write_text("{\n" + lines + "\n}\n")
    show(rows)


if __name__ == "__main__":
    main()
