"""One process of a test of DistributedDataParallel.

Arguments: rank, number of ranks, file for the rendezvous, variant, file for the result.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from datetime import timedelta

import torch
import torch_models
from torch import distributed
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

import evoprune as ep
import evoprune.torch as ept

STEPS, BATCH = 60, 16


def build(variant):
    torch.manual_seed(0)
    if "images" in variant:
        model = torch_models.lenet(20, 3).double()
        x = torch.randn(160, 3, 20, 20, generator=torch.Generator().manual_seed(1)).double()
        classes = 10
    else:
        model = torch_models.mlp().double()
        x = torch.randn(160, 20, generator=torch.Generator().manual_seed(1)).double()
        classes = 4
    return model, x, torch.randint(0, classes, (160,), generator=torch.Generator().manual_seed(2))


def train(variant, rank, world):
    """Train on this rank's share of every batch; return losses, deaths and parameters."""
    model, x, y = build(variant)
    net = model
    if world > 1:
        settings = {}
        if "views" in variant:
            settings["gradient_as_bucket_view"] = True
        if "unused" in variant:
            settings["find_unused_parameters"] = True
        if "static" in variant:
            settings["static_graph"] = True
        net = DistributedDataParallel(model, **settings)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    selection = ep.Selection(1.5, dynamics=ep.Malthusian(lifespan=15), min_age=5)
    if "disagree" in variant and rank == 1:
        selection = selection.replace(pressure=3.0)
    evolution = ept.Evolution(net, optimizer, x[:2], selection, check_every=4, patience=1.0)
    losses = []
    for step in range(STEPS):
        at = step * BATCH % len(x)
        rows = slice(at + rank * BATCH // world, at + (rank + 1) * BATCH // world)
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x[rows]), y[rows])
        if "sync" in variant and world > 1:
            with net.no_sync():
                (loss / 2).backward()
            (F.cross_entropy(net(x[rows]), y[rows]) / 2).backward()
        else:
            loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    evolution.close()
    found = evolution.history.extinctions
    deaths = [(int(d["step"]), str(d["layer"]), int(d["birth"])) for d in found]
    return {
        "losses": losses,
        "deaths": deaths,
        "parameters": [p.detach().clone() for p in model.parameters()],
        "compactions": evolution.compactions,
    }


def main():
    rank, world, meet, variant, out = sys.argv[1:]
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{meet}",
        rank=int(rank),
        world_size=int(world),
        timeout=timedelta(seconds=60),
    )
    try:
        result = train(variant, int(rank), int(world))
    except ept.RanksDisagree as error:
        result = {"error": str(error)}
    torch.save(result, out)
    with contextlib.suppress(RuntimeError):  # the other process may have exited
        distributed.barrier()
    os._exit(0)  # gloo's threads may abort a process at exit on a busy machine


if __name__ == "__main__":
    main()
