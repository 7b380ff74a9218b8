"""Names of keyword arguments: suggestions for misspelled ones, warnings for former ones."""

from __future__ import annotations

import inspect
from collections.abc import Callable, MutableMapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from evoprune.common.checks import known_keys
from evoprune.common.warn import warn

__all__ = ["current_name", "current_names", "keywords", "renamed", "spelled"]

KEYWORDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", bound=Callable[..., Any])


def current_names(where: str, names: dict[str, str], given: MutableMapping[str, Any]) -> None:
    """Replace former names in `given` by the current ones, in place.

    Args:
        where: owner of the arguments, for messages: "Trainer.fit".
        names: maps former names to current ones.
        given: keyword arguments by name.

    Raises:
        TypeError: an argument is given by both names.
    """
    for former in [name for name in given if name in names]:
        name = names[former]
        if name in given:
            raise TypeError(f"{where}: {name} is given twice, also by its former name {former}")
        warn(f"{where}: {former} is now called {name}", DeprecationWarning)
        given[name] = given.pop(former)


def current_name(where: str, names: dict[str, str], former: str) -> str:
    """Return the current name of an attribute read by its former name, and warn."""
    warn(f"{where}: {former} is now called {names[former]}", DeprecationWarning)
    return names[former]


def renamed(**names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a function also accept former names of keywords: @renamed(batch="batch_size").

    An unknown name raises a TypeError that lists all names and suggests the closest.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        check = keywords(function, names)

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            if kwargs:
                check(kwargs)
            return function(*args, **kwargs)

        return call

    return decorate


def spelled(thing: T) -> T:
    """Wrap a function, method or class so that errors about unknown keywords suggest a name.

    Python does this itself from version 3.13 on.
    """
    if isinstance(thing, type):
        thing.__init__ = renamed()(thing.__init__)  # type: ignore[misc]
        return thing
    return cast(T, renamed()(thing))


def keywords(
    function: Callable[..., Any], names: dict[str, str]
) -> Callable[[MutableMapping[str, Any]], None]:
    """Return a function that checks keywords and replaces former names by the current ones."""
    parameters = inspect.signature(function).parameters.values()
    known = [p.name for p in parameters if p.kind in KEYWORDS and p.name != "self"]
    where = function.__qualname__.removesuffix(".__init__")

    def check(given: MutableMapping[str, Any]) -> None:
        current_names(where, names, given)
        known_keys(where, "argument", given, known)

    return check
