"""Selection on any PyTorch model, in the user's own training loop; public as `evoprune.torch`.

    evolution = evoprune.torch.Evolution(model, optimizer, example, evoprune.Selection(1.5))
    ...  # the loop as it was: loss.backward(); optimizer.step()
    small = evolution.close()
    evolution.save("small.safetensors")

One forward pass finds the module's populations (neurons, channels, heads). The mass of a population
is stored in the weights that read its output. Extinct populations are removed during training.
"""

try:
    import torch as _torch  # noqa: F401 - for a clear error
except ImportError as error:
    raise ImportError("evoprune.torch needs PyTorch: pip install 'evoprune[torch]'") from error
