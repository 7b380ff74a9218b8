"""Plain values: those that JSON can represent."""

from __future__ import annotations

from typing import Any

__all__ = ["plain"]

DEPTH = 50  # limit of the nesting depth


def plain(name: str, value: Any, depth: int = 0) -> Any:
    """Return `value`, checked to be JSON-serializable: dict, list, str, int, float, bool or None.

    Tuples are also accepted; after a round trip they are lists.

    Raises:
        TypeError: a value has another type; the message is `name['key']: expected ...`.
        ValueError: values are nested too deeply, or contain themselves.
    """
    if depth == 0 and not isinstance(value, dict):
        raise TypeError(f"{name}: expected a dict, got {value!r}")
    if depth > DEPTH:
        raise ValueError(f"{name[:60]}: expected values nested at most {DEPTH} deep")
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{name}: expected str as keys, got {key!r}")
            plain(f"{name}[{key!r}]", inner, depth + 1)
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            plain(f"{name}[{i}]", inner, depth + 1)
    elif value is not None and not isinstance(value, str | int | float):
        hint = "; .item() or float() of it is one" if hasattr(value, "item") else ""
        raise TypeError(
            f"{name}: expected a plain value (str, int, float, bool, None, list, dict), "
            f"got {type(value).__name__}{hint}"
        )
    return value
