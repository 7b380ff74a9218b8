"""Write files atomically, and check files before they are read.

A file is written as a draft in the target's folder, synced to disk, and then renamed to the target.
After a crash or a power failure, and for concurrent readers, the target is either the complete old
file or the complete new one. Nothing here depends on the content.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedWriter
from os import PathLike
from pathlib import Path
from typing import Any

__all__ = ["check_folder", "existing", "write_whole"]

DRAFT, END = ".evoprune-", ".draft"  # a draft's name is DRAFT, 16 hexadecimal digits and END

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def existing(path: str | PathLike[str]) -> Path:
    """Return `path` if it is a regular file; opening a FIFO or a device could block forever.

    Raises:
        FileNotFoundError: the file does not exist or is a folder.
        OSError: it is a FIFO, a socket or a device.
    """
    file = Path(path)
    try:
        mode = file.stat().st_mode
    except OSError as error:
        raise _named(error, file, "no such file") from None
    if stat.S_ISDIR(mode):
        raise FileNotFoundError(errno.ENOENT, "expected a file, got a folder", str(file))
    if not stat.S_ISREG(mode):
        _refuse(file, mode)
    return file


def check_folder(path: str | PathLike[str]) -> None:
    """Check that a file can be written at `path`, without writing it.

    Raises:
        OSError: the folder of `path` is missing or not writable, or `path` exists and is not a
            regular file.
    """
    final, _ = _target(Path(path))
    with _draft(final.parent, Path(path)):
        pass


def write_whole(
    path: str | PathLike[str], content: bytes | Callable[[BufferedWriter], object]
) -> None:
    """Write a file atomically: rename it to `path` only when it is complete and on disk.

    If `path` is a link, its target is written. A replaced file's permissions are preserved. Drafts
    in the folder from killed processes are removed.

    Args:
        path: the file.
        content: its bytes, or a function that writes them to a binary file.

    Raises:
        OSError: the file cannot be written; the message names it, and the old file is unchanged.
    """
    wanted = Path(path)
    final, before = _target(wanted)
    with _draft(final.parent, wanted) as (handle, draft):
        try:
            with os.fdopen(os.dup(handle), "wb") as file:
                if isinstance(content, bytes):
                    file.write(content)
                else:
                    content(file)
            if before is not None:
                with suppress(OSError):  # only root may change the owner
                    os.fchown(handle, before.st_uid, before.st_gid)
                os.fchmod(handle, stat.S_IMODE(before.st_mode))
            os.fsync(handle)
            draft.replace(final)
            _sync_folder(final.parent)
        except OSError as error:
            raise _named(error, wanted) from error


def _target(path: Path) -> tuple[Path, os.stat_result | None]:
    """Return the file at `path` with links resolved, and its stat result if it exists."""
    final = Path(os.path.realpath(path))
    try:
        facts = final.stat()
    except FileNotFoundError:
        return final, None
    except OSError as error:
        raise _named(error, path) from None
    if not stat.S_ISREG(facts.st_mode):
        _refuse(path, facts.st_mode)
    if not os.access(final, os.W_OK):
        raise PermissionError(errno.EACCES, "the file is read-only", str(path))
    return final, facts


def _refuse(path: Path, mode: int) -> None:
    kind = KINDS.get(stat.S_IFMT(mode), "something else")
    number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
    raise OSError(number, f"expected a regular file, got {kind}", str(path))


@contextmanager
def _draft(folder: Path, wanted: Path) -> Iterator[tuple[int, Path]]:
    """Yield (file descriptor, path) of a new draft with a unique name; on exit, remove the draft.

    A lock marks the draft as in use until it is closed or its process ends.
    """
    with suppress(OSError):
        _remove_stale(folder)
    while True:
        draft = folder / f"{DRAFT}{os.urandom(8).hex()}{END}"
        try:
            handle = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:
            text = f"the folder {folder} does not exist"
            raise FileNotFoundError(errno.ENOENT, text, str(wanted)) from None
        except OSError as error:
            raise _named(error, wanted) from None
        with suppress(OSError):  # the file system may have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            break
        os.close(handle)  # another process removed the draft before it was locked: repeat
    try:
        yield handle, draft
    finally:
        # Unlink before closing, which unlocks: other writers remove drafts that are not locked.
        with suppress(OSError):
            draft.unlink()
        os.close(handle)


def _remove_stale(folder: Path) -> None:
    """Remove drafts that no process holds a lock on."""
    with os.scandir(folder) as entries:
        found = [e.path for e in entries if e.name.startswith(DRAFT) and e.name.endswith(END)]
    for name in found:
        with suppress(OSError):
            handle = os.open(name, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                Path(name).unlink()
            finally:
                os.close(handle)


def _sync_folder(folder: Path) -> None:
    """Sync the rename to disk, if the file system supports it."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _named(error: OSError, path: Path, absent: str = "") -> OSError:
    """Return the error with the path that the user gave, instead of the path of a draft."""
    if isinstance(error, FileNotFoundError) and absent:
        return FileNotFoundError(errno.ENOENT, absent, str(path))
    text: Any = error.strerror or str(error)
    return OSError(error.errno or errno.EIO, text, str(path))
