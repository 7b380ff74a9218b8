"""Selection on any PyTorch model, in the user's own training loop; see `Evolution`.

The code is in evoprune.bridges.torch. `import evoprune` imports neither this module nor that one.
"""

from evoprune.bridges.torch.callbacks import lightning_callback, transformers_callback
from evoprune.bridges.torch.errors import RanksDisagree, Unsupported
from evoprune.bridges.torch.evolution import Evolution
from evoprune.bridges.torch.files import load, save, survivors
from evoprune.bridges.torch.inspection import Inspection, inspect

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
