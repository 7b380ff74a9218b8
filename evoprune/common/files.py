"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from os import PathLike
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: str | PathLike[str], write: Callable[[Path], None]) -> None:
    """Let `write` make a file, and put it at `path` only when it is complete.

    Raises:
        OSError: it cannot be written; what was at `path` is still there.
    """
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(f"{target}: expected a file to write, got a folder")
    draft = target.with_name(f".{target.name}.{os.getpid()}.draft{target.suffix}")
    try:
        write(draft)
        draft.replace(target)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise
