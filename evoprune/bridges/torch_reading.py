"""Convert a PyTorch module to a network.

The module is traced (torch.fx) and run once on one sample; every operator becomes layers. Finally
the module and the network run on random samples; different outputs are an error.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from evoprune import Network
from evoprune.bridges import torch_modules as own
from evoprune.bridges.torch_operators import TABLES
from evoprune.bridges.torch_values import WHERE, Reader, Value, refused

__all__ = ["network_of"]


class _Tracer(fx.Tracer):
    """Tracer that treats each module of torch and of this package as one operator."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if type(m).__module__ == own.__name__:
            return not isinstance(m, own.Wired)
        return bool(super().is_leaf_module(m, module_qualified_name))


class _Recorder(fx.Interpreter):
    """Interpreter that stores the result of every node."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.seen: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        self.seen[n] = super().run_node(n)
        return self.seen[n]


def network_of(
    module: nn.Module, shape: tuple[int, ...] | None, populations: bool, seed: int
) -> Network:
    """Make the network of a module; see `evoprune.from_torch`."""
    if not isinstance(module, nn.Module):
        raise TypeError(f"{WHERE}: expected a torch.nn.Module, got {type(module).__name__}")
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        return _network_of(module, shape, populations, seed)
    finally:
        for part, mode in modes.items():
            part.training = mode


def _network_of(
    module: nn.Module, shape: tuple[int, ...] | None, populations: bool, seed: int
) -> Network:
    dtypes = {p.dtype for p in module.parameters()} or {torch.float32}
    if not dtypes <= {torch.float32, torch.float64} or len(dtypes) > 1:
        kinds = ", ".join(sorted(str(d).removeprefix("torch.") for d in dtypes))
        raise ValueError(f"{WHERE}: expected parameters of float32 or float64, got {kinds}")
    dtype = dtypes.pop()
    tracer = _Tracer()
    if tracer.is_leaf_module(module, ""):
        module = nn.Sequential(module)
    try:
        graph = tracer.trace(module)
    except Exception as error:
        raise ValueError(f"{WHERE}: torch.fx cannot trace the module ({error})") from error
    traced = fx.GraphModule(tracer.root, graph)
    codes = _codes(traced)
    x = _sample(traced, shape, codes, dtype, 1)
    recorder = _Recorder(traced)
    try:
        with torch.no_grad():
            recorder.run(x)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        why, of = str(error).partition("\n")[0], tuple(x.shape)
        raise ValueError(f"{WHERE}: the module does not run on inputs {of} ({why})") from error
    r = Reader(traced, recorder.seen, populations, TABLES)
    (start,) = [node for node in graph.nodes if node.op == "placeholder"][:1]
    others = [n for n in graph.nodes if n.op == "placeholder" and n is not start and n.users]
    if others:
        raise refused(others[0], "expected a module of one input")
    r.input = r.values[start] = _input(r, start)
    (output,) = [node for node in graph.nodes if node.op == "output"]
    if not isinstance(output.args[0], fx.Node):
        raise ValueError(f"{WHERE}: expected a module with one output, got several")
    last = r.value(output.args[0])
    if last.merged > 1:
        raise refused(output.args[0], "flattened outputs have no layer")
    spec = {"seed": seed, "input": list(r.input.shape), "layers": r.layers}
    if not r.layers:
        raise ValueError(f"{WHERE}: expected a module with layers, got one without")
    network = Network(spec, "float64" if dtype == torch.float64 else "float32")
    for name, values in r.arrays.items():
        network[name] = values
    if r.scaling is not None:
        network.scale_input(*r.scaling)
    _certify(module, network, _sample(traced, shape, codes, dtype, 3), r.input, last)
    return network


def _input(r: Reader, start: fx.Node) -> Value:
    """Return the input value, with channels first or features last as its readers need."""
    shape = r.shape(start)
    first = len(shape) > 1 and r.axes.channels_first(start)
    return Value("input", (*shape[1:], shape[0]) if first else shape, first)


def _codes(traced: fx.GraphModule) -> int:
    """Return the size of the vocabulary if an embedding reads the input, else 0."""
    for node in traced.graph.nodes:
        if node.op == "call_module" and node.args and node.args[0].op == "placeholder":
            module = traced.get_submodule(node.target)
            if isinstance(module, nn.Embedding):
                return int(module.num_embeddings)
    return 0


def _sample(
    traced: fx.GraphModule, shape: tuple[int, ...] | None, codes: int, dtype: torch.dtype, rows: int
) -> Tensor:
    """Return random samples of the input."""
    if shape is None:
        reads = [n for n in traced.graph.nodes if n.op == "call_module"]
        first = traced.get_submodule(reads[0].target) if reads else None
        if not isinstance(first, nn.Linear):
            raise ValueError(f"{WHERE}: expected input=, the shape of one sample of the module")
        shape = (first.in_features,)
    random = torch.Generator().manual_seed(0)
    if codes:
        return torch.randint(0, codes, (rows, *shape), generator=random)
    return torch.randn((rows, *shape), generator=random, dtype=dtype)


def _certify(module: nn.Module, network: Network, x: Tensor, first: Value, last: Value) -> None:
    """Compare outputs of module and network.

    Raises:
        ValueError: they differ.
    """
    with torch.no_grad():
        expected = module(x)
    expected = expected.movedim(1, -1) if last.first else expected
    got = network.predict((x.movedim(1, -1) if first.first else x).contiguous().numpy())
    expected = expected.numpy().reshape(got.shape)
    size = np.abs(expected).max()
    gap = np.abs(got - expected).max()
    if not gap <= 1e-3 * size + 1e-6:
        raise ValueError(
            f"{WHERE}: the network differs from the module by {gap:.2g} where outputs reach "
            f"{size:.2g}: some operator means something else than its layer"
        )
