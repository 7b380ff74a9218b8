"""Selection on any PyTorch model, in the user's own training loop; see `Evolution`.

The code is in evoprune.bridges.torch. `import evoprune` imports neither.
"""

from evoprune.bridges.torch import (
    Evolution,
    Inspection,
    RanksDisagree,
    Unsupported,
    inspect,
    lightning_callback,
    load,
    save,
    survivors,
    transformers_callback,
)

__all__ = [
    "Evolution",
    "Inspection",
    "RanksDisagree",
    "Unsupported",
    "inspect",
    "lightning_callback",
    "load",
    "save",
    "survivors",
    "transformers_callback",
]
