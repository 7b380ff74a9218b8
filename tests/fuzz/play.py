"""Make one call with generated arguments, and decide whether its result or error is allowed."""

from __future__ import annotations

import contextlib
import inspect
import re
import signal
import threading
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np

import evoprune as ep
from fuzz import hostile
from fuzz.evil import Marked, evil
from fuzz.report import Fault, of_error
from fuzz.scene import Scene

PATIENCE = 2.0  # seconds of processor time after which a call gets SIGINT
ALLOWED = (ValueError, TypeError, KeyError, MemoryError, Marked, KeyboardInterrupt, ep.Diverged)
DOCUMENTED = re.compile(
    "another call is using it|no batch has been run through|is configured yet|written over|"
    "can't start new thread|gradient was not kept"
)
FILES = ("PathLike", "path", "root", "state")  # parameters that name files: OSError is allowed
# Methods that only a trainer calls, with its own objects, so they do not check their arguments.
INNER = {
    f"{owner}.{name}"
    for owner, names in {
        "History": (
            "add_record",
            "add_births",
            "add_deaths",
            "add_epoch",
            "add_steps",
            "record",
            "last",
            "fill",
            "means",
        ),
        "Budget": ("first", "move", "reached", "size", "steer", "target"),
        "Selection": ("why_nobody_dies", "stands_still"),
        "Network": ("score", "form"),
    }.items()
    for name in names
}
Watch = Callable[[int, str], None]  # called before every call, with its seed and text


@cache
def parameters(function: Any) -> tuple[inspect.Parameter, ...]:
    """Return the parameters of a function, without self; none if it has no signature."""
    try:
        found = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):
        return ()
    return tuple(p for p in found if p.name != "self")


def perturbed(scene: Scene, value: Any) -> Any:
    """Return a valid value with one part changed."""
    random = scene.random
    if isinstance(value, dict) and value:
        key = random.choice(list(value))
        match random.randrange(4):
            case 0:
                return {k: v for k, v in value.items() if k != key}
            case 1:
                return value | {random.choice(hostile.TEXTS): hostile.scalar(random)}
            case 2:
                return value | {key: perturbed(scene, value[key])}
        return value | {key: hostile.anything(random)}
    if isinstance(value, list | tuple) and value:
        at = random.randrange(len(value))
        new = hostile.scalar(random) if random.random() < 0.5 else perturbed(scene, value[at])
        return type(value)((*value[:at], new, *value[at + 1 :])) if type(value) is tuple else [
            *value[:at], new, *value[at + 1 :]]  # fmt: skip
    if isinstance(value, np.ndarray):
        made = hostile.spoiled(random, value)
        return made[1:] if made.ndim and random.random() < 0.3 else hostile.laid_out(random, made)
    return hostile.scalar(random)


def argument(scene: Scene, make: Callable[[str], Any], name: str) -> Any:
    """Return an argument for the parameter `name`, in most cases a valid one."""
    random = scene.random
    chance = random.random()
    if chance < 0.12:
        return hostile.anything(random)
    value = make(name)
    if chance < 0.2:
        return perturbed(scene, value)
    if chance < 0.28:
        return evil(random, value, scene.room)
    return value


def arguments(
    scene: Scene, function: Any, make: Callable[[str], Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Return positional and keyword arguments for a call."""
    random = scene.random
    args: list[Any] = []
    named: dict[str, Any] = {}
    for p in parameters(function):
        if p.kind is p.VAR_POSITIONAL:
            args += [argument(scene, make, p.name) for _ in range(random.randrange(4))]
        elif p.kind is p.VAR_KEYWORD or (p.default is not p.empty and random.random() < 0.5):
            continue
        elif p.kind is p.KEYWORD_ONLY or named or p.default is not p.empty:
            named[p.name] = argument(scene, make, p.name)
        else:
            args.append(argument(scene, make, p.name))
    if random.random() < 0.02:
        args.append(hostile.scalar(random))
    if random.random() < 0.02:
        named[random.choice(["nothing", "x", "seed"])] = hostile.scalar(random)
    if named and random.random() < 0.02:
        del named[random.choice(list(named))]
    return args, named


@contextlib.contextmanager
def impatient() -> Iterator[None]:
    """Raise SIGINT if a call computes for more than PATIENCE seconds, and again every second.

    The timer measures processor time, since on a busy machine a short call may wait for seconds.
    """

    def press(number: int, frame: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    old = signal.signal(signal.SIGPROF, press)
    signal.setitimer(signal.ITIMER_PROF, PATIENCE, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, old)


@contextlib.contextmanager
def company(scene: Scene, values: list[Any]) -> Iterator[None]:
    """Run a second thread during a call: it reads the network, or writes into the call's arrays."""
    end = threading.Event()
    reads = scene.random.random() < 0.6
    arrays = [v for v in values if isinstance(v, np.ndarray) and v.flags.writeable and v.size]
    core = getattr(scene.net, "core", scene.net)
    x = np.zeros((1, *scene.spec["input"]), np.float32)

    def read() -> None:
        while not end.is_set():
            for name in ("macs", "parameters", "nbytes", "step", "generation", "rows", "spec"):
                getattr(core, name, None)
            for call in (core.describe, lambda: core.predict(x)):
                with contextlib.suppress(RuntimeError):
                    call()

    def write() -> None:
        at = 0
        while not end.is_set():
            for array in arrays:
                with contextlib.suppress(TypeError, ValueError):
                    array.reshape(-1).view(np.uint8)[:] = (0, 255, 128, 1)[at % 4]
            at += 1

    thread = threading.Thread(target=read if reads or not arrays else write, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def may(error: BaseException, where: str, opens_files: bool) -> bool:
    """True if a call may raise this error."""
    if isinstance(error, ALLOWED) or type(error).__name__ == "Diverged":
        return True
    method = where.rpartition(".")[2]
    if where in INNER or method == "build" or method.startswith("on_"):
        return isinstance(error, AttributeError | IndexError)
    if isinstance(error, IndexError) and where.endswith("__getitem__"):
        return True
    if isinstance(error, NotImplementedError):
        return "sub-views" in str(error)  # raised by a memoryview
    if isinstance(error, RuntimeError):
        return bool(DOCUMENTED.search(str(error)))
    if isinstance(error, ImportError):
        return "pip install" in str(error)
    return opens_files and isinstance(error, OSError)


def call(
    scene: Scene, function: Any, where: str, make: Callable[[str], Any], seed: int, watch: Watch
) -> tuple[Any, Fault | None]:
    """Call a function with generated arguments; return its result, and a fault if there is one."""
    random = scene.random
    args, named = arguments(scene, function, make)
    scene.room.containers.clear()
    for value in (*args, *named.values()):
        scene.room.collect(value)
    scene.room.budget = random.randrange(1, 12)
    text = f"{where}({', '.join([*map(hostile.show, args), *_shown(named)])})"[:1500]
    watch(seed, text)
    opens_files = any(word in str(parameters(function)) for word in FILES)
    beside = company(scene, [*args, *named.values()]) if random.random() < 0.03 else None
    result = None
    try:
        with impatient(), beside or contextlib.nullcontext():
            result = function(*args, **named)
    except Exception as error:
        if not may(error, where, opens_files):
            return None, of_error(error, where, seed, text)
    except KeyboardInterrupt:
        pass
    return result, None


def _shown(named: dict[str, Any]) -> list[str]:
    return [f"{name}={hostile.show(value)}" for name, value in named.items()]
