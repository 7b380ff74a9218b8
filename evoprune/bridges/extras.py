"""Import optional libraries; if one is missing, raise an error that names the extra to install."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["require"]


def require(module: str, extra: str, user: str) -> Any:
    """Import a module of an optional library.

    Args:
        module: import name of the module, "sklearn" or "optuna.trial".
        extra: the extra of this package that installs it.
        user: the function that needs the library, for error messages.

    Raises:
        ImportError: the library is not installed; the message says how to install it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        library = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != library:
            raise  # the library exists, but a dependency of it does not
        raise ModuleNotFoundError(
            f"{user}: expected {library} to be installed; "
            f"install it by: pip install 'evoprune[{extra}]'",
            name=error.name,
        ) from error
