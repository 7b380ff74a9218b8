"""The peers' side: PyTorch, JAX, scikit-learn, ONNX Runtime and NumPy by hand, each at its best.

rounds.py runs this file in the peers' own interpreter, `python peers.py LIBRARY THREADS`, in one
process for each library and thread count. The process reads requests, one line of JSON each, and
answers each with one line; between requests it waits for input. It never imports evoprune. A peer
is a function that returns run(n), which completes n steps or calls. Each is written as users of the
library would write it; if there are several ways, the fastest counts.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise, repeat
from typing import Any

import numpy as np
import peers_layers
from stopwatch import turn

Run = Callable[[int], Any]
Facts = dict[str, Any]

PEERS: dict[str, Callable[..., Any]] = {**peers_layers.PEERS}
THREADS = int(sys.argv[2]) if len(sys.argv) > 2 else 1


def peer(function: Callable[..., Any]) -> Callable[..., Any]:
    """Register a function by its name, which begins with the name of its library."""
    PEERS[function.__name__] = function
    return function


# ---- data -------------------------------------------------------------------------------------


def load(data: Facts) -> tuple[np.ndarray, np.ndarray]:
    """Return x (n, features) float32, normalized, and y (n,) int64, from two .npy files."""
    x = np.load(data["x"])
    x = (x.reshape(len(x), -1).astype(np.float32) - np.float32(data["shift"])) * np.float32(
        data["scale"]
    )
    return np.ascontiguousarray(x), np.load(data["y"]).astype(np.int64)


def batches(n: int, batch: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield the shuffled indices of one full batch after another, over epochs without end."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(n)
        for at in range(0, n - batch + 1, batch):
            yield order[at : at + batch]


def weights(widths: list[int], seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the weights (in, out) and biases (out,) of each layer of an MLP, float32."""
    rng = np.random.default_rng(seed)
    return [
        ((rng.standard_normal((i, o)) * (2 / i) ** 0.5).astype(np.float32), np.zeros(o, np.float32))
        for i, o in pairwise(widths)
    ]


# ---- PyTorch ----------------------------------------------------------------------------------


def torch_mlp(widths: list[int]) -> Any:
    import torch

    layers: list[Any] = []
    for inputs, outputs in pairwise(widths):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


@peer
def torch_step(
    widths: list[int],
    batch: int,
    data: Facts,
    decay: float,
    rate: float,
    *,
    gather: bool = True,
    compiled: bool = False,
) -> Run:
    """Return run(n), which runs n training steps with fused AdamW, eager or compiled.

    With `gather`, batches are drawn by index; else all steps have the same batch.
    """
    import torch

    torch.manual_seed(0)
    x, y = (torch.from_numpy(array) for array in load(data))
    net = torch_mlp(widths)
    cross_entropy = torch.nn.functional.cross_entropy

    def loss(xs: Any, ys: Any) -> Any:
        return cross_entropy(net(xs), ys)

    fixed = repeat((x[:batch].clone(), y[:batch].clone()))
    drawn = peers_layers.batches(x, y, batch) if gather else fixed
    return peers_layers.steps(net, torch.compile(loss) if compiled else loss, drawn, decay, rate)


@peer
def torch_predict(widths: list[int], batch: int, *, scripted: bool = False) -> Run:
    """Return run(n), which runs n forward passes of an MLP without gradients."""
    import torch

    torch.manual_seed(0)
    net = torch_mlp(widths).eval()
    x = torch.randn(batch, widths[0])
    if scripted:
        net = torch.jit.freeze(torch.jit.trace(net, x))

    def run(calls: int) -> None:
        with torch.inference_mode():
            for _ in range(calls):
                net(x)

    return run


@peer
def torch_fit(
    widths: list[int],
    batch: int,
    epochs: int,
    data: Facts,
    test: Facts,
    decay: float,
    rate: float,
    seed: int,
) -> Facts:
    """Train a dense MLP with a cosine learning-rate schedule.

    Return seconds, and accuracy after every epoch.
    """
    import torch

    x, y = (torch.from_numpy(array) for array in load(data))
    test_x, test_y = (torch.from_numpy(array) for array in load(test))
    torch.manual_seed(seed)
    net = torch_mlp(widths)
    optimizer = torch.optim.AdamW(net.parameters(), rate, weight_decay=decay, fused=True)
    steps = epochs * -(-len(x) // batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    loss_of = torch.nn.functional.cross_entropy
    accuracy = []
    begin, testing = time.perf_counter(), 0.0
    for _ in range(epochs):
        order = torch.randperm(len(x))
        for at in range(0, len(x), batch):
            rows = order[at : at + batch]
            optimizer.zero_grad(set_to_none=True)
            loss_of(net(torch.index_select(x, 0, rows)), torch.index_select(y, 0, rows)).backward()
            optimizer.step()
            schedule.step()
        pause = time.perf_counter()
        with torch.inference_mode():
            accuracy.append(float((net(test_x).argmax(1) == test_y).float().mean()))
        testing += time.perf_counter() - pause
    return {"seconds": time.perf_counter() - begin, "testing": testing, "accuracy": accuracy}


# ---- JAX --------------------------------------------------------------------------------------


@peer
def jax_step(
    widths: list[int], batch: int, data: Facts, decay: float, rate: float, *, scanned: bool = False
) -> Run:
    """Return run(n), which runs n jitted training steps with donated buffers.

    With `scanned`, a call of the jitted function runs 50 steps by `lax.scan`.
    """
    import jax
    import jax.numpy as jnp
    import optax

    x, y = (jnp.asarray(array) for array in load(data))
    optimizer = optax.adamw(rate, weight_decay=decay)

    def loss(params: Any, xs: Any, ys: Any) -> Any:
        for w, b in params[:-1]:
            xs = jax.nn.relu(xs @ w + b)
        w, b = params[-1]
        return optax.softmax_cross_entropy_with_integer_labels(xs @ w + b, ys).mean()

    def step(carry: Any, rows: Any, x: Any, y: Any) -> Any:
        params, state = carry
        gradient = jax.grad(loss)(params, x[rows], y[rows])
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    params = [(jnp.asarray(w), jnp.asarray(b)) for w, b in weights(widths)]
    carry = (params, optimizer.init(params))
    drawn = batches(len(x), batch)
    if not scanned:
        one = jax.jit(step, donate_argnums=0)

        def run(steps: int) -> None:
            nonlocal carry
            for _ in range(steps):
                carry = one(carry, next(drawn), x, y)
            jax.block_until_ready(carry)

        return run

    def segment(carry: Any, order: Any, x: Any, y: Any) -> Any:
        return jax.lax.scan(lambda c, rows: (step(c, rows, x, y), None), carry, order)[0]

    many = jax.jit(segment, donate_argnums=0)

    def run_many(steps: int) -> None:
        nonlocal carry
        for _ in range(max(1, round(steps / 50))):
            carry = many(carry, np.stack([next(drawn) for _ in range(50)]), x, y)
        jax.block_until_ready(carry)

    run_many.multiple = 50  # type: ignore[attr-defined]
    return run_many


@peer
def jax_predict(widths: list[int], batch: int) -> Run:
    """Return run(n), which runs n jitted forward passes and waits for each result."""
    import jax
    import jax.numpy as jnp

    params = [(jnp.asarray(w), jnp.asarray(b)) for w, b in weights(widths)]

    @jax.jit
    def forward(params: Any, x: Any) -> Any:
        for w, b in params[:-1]:
            x = jax.nn.relu(x @ w + b)
        w, b = params[-1]
        return x @ w + b

    x = np.random.default_rng(0).standard_normal((batch, widths[0])).astype(np.float32)

    def run(calls: int) -> None:
        for _ in range(calls):
            forward(params, x).block_until_ready()

    return run


# ---- scikit-learn -----------------------------------------------------------------------------


@peer
def sklearn_step(widths: list[int], batch: int, data: Facts, decay: float, rate: float) -> Run:
    """Return run(n), which runs about n training steps of MLPClassifier in float32.

    Each call of partial_fit runs 50 steps, or an epoch if that is less.
    """
    from sklearn.neural_network import MLPClassifier

    x, y = load(data)
    net = MLPClassifier(
        tuple(widths[1:-1]),
        batch_size=batch,
        learning_rate_init=rate,
        alpha=decay * 1e-3,
        random_state=0,
    )
    steps_a_call = min(50, len(x) // batch)
    x, y = x[: steps_a_call * batch], y[: steps_a_call * batch]
    classes = np.arange(widths[-1])

    def run(steps: int) -> None:
        for _ in range(max(1, round(steps / steps_a_call))):
            net.partial_fit(x, y, classes=classes)

    run.multiple = steps_a_call  # type: ignore[attr-defined]
    return run


# ---- inference only ---------------------------------------------------------------------------


@peer
def numpy_predict(widths: list[int], batch: int) -> Run:
    """Return run(n), which runs n forward passes in plain NumPy: x @ w + b, then np.maximum."""
    params = weights(widths)
    x = np.random.default_rng(0).standard_normal((batch, widths[0])).astype(np.float32)

    def run(calls: int) -> None:
        for _ in range(calls):
            h = x
            for w, b in params[:-1]:
                h = np.maximum(h @ w + b, 0)
            w, b = params[-1]
            h @ w + b

    return run


@peer
def onnxruntime_predict(widths: list[int], batch: int) -> Run:
    """Return run(n), which runs n forward passes of a model of Gemm and Relu nodes."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    nodes, tensors, name = [], [], "x"
    for i, (w, b) in enumerate(weights(widths)):
        tensors += [numpy_helper.from_array(w, f"w{i}"), numpy_helper.from_array(b, f"b{i}")]
        nodes.append(helper.make_node("Gemm", [name, f"w{i}", f"b{i}"], [f"z{i}"]))
        name = f"z{i}"
        if i < len(widths) - 2:
            nodes.append(helper.make_node("Relu", [name], [f"h{i}"]))
            name = f"h{i}"
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, widths[0]])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, widths[-1]])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feed = {"x": np.random.default_rng(0).standard_normal((batch, widths[0])).astype(np.float32)}

    def run(calls: int) -> None:
        for _ in range(calls):
            session.run(None, feed)

    return run


# ---- the process ------------------------------------------------------------------------------


def prepare(library: str) -> str:
    """Load the library with THREADS threads; return its version."""
    if library == "jax" and hasattr(os, "sched_setaffinity"):
        # Thread pools of the library have one thread per processor that the process may use.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    module = __import__(library)
    if library == "torch":
        module.set_num_threads(THREADS)
    return str(module.__version__)


def timed(run: Run, seconds: float) -> dict[str, float]:
    """Time a run and return its turn as a dict.

    If a run has the attribute `multiple`, its number of calls is a multiple of this number.
    """
    multiple = getattr(run, "multiple", 1)
    shown = turn(lambda n: run(n * multiple), seconds)
    return {**shown._asdict(), "ms": shown.ms / multiple}


def serve(library: str) -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of libraries must not mix with the answers
    made: dict[int, Run] = {}
    for number, line in enumerate(sys.stdin):
        request = json.loads(line)
        answer: dict[str, Any] = {}
        try:
            match request["do"]:
                case "hello":
                    answer["version"] = prepare(library)
                case "make":
                    made[number] = PEERS[request["make"]](**request["settings"])
                    answer["id"] = number
                case "time":
                    answer = timed(made[request["id"]], request["seconds"])
                case "drop":
                    del made[request["id"]]
                case "call":
                    answer = PEERS[request["call"]](**request["settings"])
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:500]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve(sys.argv[1])
