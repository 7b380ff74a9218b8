"""The layers of the core, one line each; signatures and texts come from the core's catalogue.

Type checkers and editors read layers.pyi, which tools/make_stubs.py writes from the catalogue.
"""

from __future__ import annotations

from evoprune.core.spec import define, known
from evoprune.nets.plan import Layer

Dense = define(Layer, "dense", "units")
Conv2d = define(Layer, "conv2d", "filters", "kernel", name="Conv2d", kernel=(3,))
Populations = define(Layer, "populations", "activation")
Attention = define(Layer, "attention")
LayerNorm = define(Layer, "layer_norm")
RMSNorm = define(Layer, "rms_norm", name="RMSNorm")
BatchNorm = define(Layer, "batch_norm")
MaxPool = define(Layer, "max_pool", "size")
MeanPool = define(Layer, "mean_pool", "size")
Embedding = define(Layer, "embedding", "vocabulary", "units")
Positions = define(Layer, "positions")
Dropout = define(Layer, "dropout", "rate")
Sum = define(Layer, "sum")
Shortcut = define(Layer, "shortcut", "channels")
Token = define(Layer, "token")
Take = define(Layer, "take", "position")
Patches = define(Layer, "patches", "size")

__all__ = [made.__name__ for made in known(Layer).values()]
