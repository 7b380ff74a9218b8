"""Cases of every kind of layer at its limits: large cases, and invalid ones.

LARGE has a case for each kind, in the format of `cases.spec`, large enough that the gradient of a
layer with parameters is computed in several parts. MISFITS has rows (kind, shape of the input,
config, layers before it, inputs, text of the error) for the checks that only this kind makes;
other tests cover the checks common to all kinds, such as the number of inputs.
"""

from __future__ import annotations

LARGE = {
    "dense": {"input": (3, 40), "config": {"units": [96]}},
    "populations": {"input": (70000,), "config": {"activation": "gelu"}, "rows": 9},
    "attention": {"input": (70, 24), "config": {"causal": True}, "inputs": [1, 2, 3],
                  "before": [("dense", {"units": [6, 8]}, [0]), ("dense", {}, [0, 1]),
                             ("dense", {}, [0, 1])]},
    "embedding": {"input": (9,), "config": {"vocabulary": 3000, "units": 24}, "ids": 3000},
    "positions": {"input": (70, 1000), "config": {}, "rows": 5},
    "dropout": {"input": (300,), "config": {"rate": 0.3}},
    "sum": {"input": (40,), "config": {}, "inputs": [1, 2],
            "before": [("dense", {"units": [90]}, [0]), ("dense", {}, [0, 1])]},
    "token": {"input": (1, 70000), "config": {}, "rows": 5},
    "take": {"input": (7, 90), "config": {"mean": True}},
    "patches": {"input": (12, 12, 3), "config": {"size": [3]}},
    "shortcut": {"input": (12, 12, 20), "config": {"channels": 33, "stride": [2]}},
    "conv2d": {"input": (16, 13, 8), "config": {"filters": 24, "kernel": [3, 4]}},
    "conv2d by tiles of 4": {"input": (16, 13, 40), "config": {"filters": 80, "kernel": [3]}},
    "conv2d by tiles of 6": {"input": (12, 13, 40), "config": {"filters": 80, "kernel": [5]}},
    "max_pool": {"input": (12, 12, 20), "config": {"size": [3], "stride": [2]}},
    "mean_pool": {"input": (12, 12, 20), "config": {"size": [3], "stride": [2]}},
    "layer_norm": {"input": (70000,), "config": {}, "rows": 5},
    "rms_norm": {"input": (70000,), "config": {}, "rows": 5},
    "batch_norm": {"input": (3, 24000), "config": {}, "rows": 67},
}  # fmt: skip

DENSE = ("dense", {"units": [6]}, [0])
HEADS = ("dense", {"units": [3, 5]}, [0])
MISFITS = [
    ("dense", (4, 5), {}, [], [0], "units must give 1 to 3 output axes"),
    ("dense", (4, 5), {"units": [3], "contract": 3}, [], [0], "contract must be at most .* 2 axes"),
    ("dense", (4, 5), {"units": [2, 2], "contract": 0}, [], [0, 0], "units must be left out"),
    ("dense", (4, 5), {"units": [2, 3, 4, 5]}, [], [0], "units must give 1 to"),
    ("dense", (2, 4, 5), {}, [("take", {}, [0])], [0, 1], "second input must have more than"),
    ("populations", (4, 5), {"axis": 2}, [], [0], r"axis must be in \[-2, 1\].*got 2"),
    ("populations", (5,), {"axis": -2}, [], [0], r"axis must be in \[-1, 0\]"),
    ("populations", (5,), {}, [("populations", {}, [0])], [1], "has masses already"),
    ("attention", (7, 4), {}, [], [0, 0, 0], r"queries must have the axes .*got 2 axes"),
    ("attention", (7, 4), {}, [HEADS, HEADS], [1, 2, 1],
     "keys .* must share axis"),
    ("embedding", (5,), {"vocabulary": 3}, [], [0], "units must be at least 1"),
    ("embedding", (5,), {"vocabulary": 3, "units": 2}, [], [0, 0], "units must be left out"),
    ("embedding", (1, 2, 3, 4), {"vocabulary": 3, "units": 2}, [], [0], "at most 3 axes, got 4"),
    ("positions", (5,), {}, [], [0], r"must have the axes \(..., positions, features\), got 1"),
    ("sum", (4, 3), {}, [DENSE], [0, 1], "must have the 3 entries of|must share axis"),
    ("sum", (6, 6), {}, [DENSE], [0, 1], "must share axis"),
    ("sum", (4, 6), {}, [("take", {}, [0])], [0, 1], "must have the 2 axes of"),
    ("token", (5,), {}, [], [0], r"must have the axes \(positions, features\), got 1"),
    ("take", (5,), {}, [], [0], "must have the axes"),
    ("take", (5, 2), {"position": 5}, [], [0], r"position must be in \[-5, 4\], got 5"),
    ("patches", (5, 2), {"size": [2]}, [], [0], "must have the axes .* got 2 axes"),
    ("patches", (6, 4, 1), {"size": [4]}, [], [0], "size must divide the 6"),
    ("patches", (6, 4, 1), {"size": [1, 1, 1]}, [], [0], "size must give 1 or 2 numbers, got 3"),
    ("conv2d", (6,), {"filters": 2, "kernel": [3]}, [], [0], "the input must be"),
    ("conv2d", (6, 6, 1), {"kernel": [3]}, [], [0], "filters must be at least 1"),
    ("conv2d", (6, 6, 1), {"filters": 2, "kernel": [3, 3, 3]}, [], [0], "kernel must"),
    ("conv2d", (6, 6, 1), {"filters": 2, "kernel": [7], "padding": [0]}, [], [0],
     "a window of extent 7 must fit in height 6"),
    ("conv2d", (6, 6, 1), {"filters": 2, "kernel": [3], "depthwise": True}, [], [0], "give one of"),
    ("shortcut", (6,), {"channels": 3}, [], [0], "the input must be"),
    ("shortcut", (6, 6, 4), {"channels": 3}, [], [0], "channels must be at least the 4 .* got 3"),
    ("shortcut", (6, 6, 4), {"channels": 4, "stride": [1, 1, 1]}, [], [0], "stride must"),
    ("max_pool", (6,), {"size": [2]}, [], [0], "the input must be"),
    ("max_pool", (6, 6, 1), {"size": [7]}, [], [0], "a window .* must fit in height 6"),
    ("max_pool", (6, 6, 1), {"size": [2], "padding": [2]}, [], [0], "padding must be under"),
    ("mean_pool", (6, 6, 1), {"stride": [2]}, [], [0], "need a size"),
    ("mean_pool", (6, 6, 1), {"size": [2], "padding": [3]}, [], [0], "padding must be under"),
]  # fmt: skip
