"""Files: replaced as a whole or not at all, and opened for reading only if they are regular."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]  # in place of the module


def opened(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading; anything else, such as a pipe, is refused without being opened."""
    path = os.fspath(path)  # refuses integers, which open() takes as file descriptors
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # for a folder, open() says so
        raise ValueError(f"{path} is not a regular file, but a pipe, a device or a socket.")
    return open(path, "rb")


@contextlib.contextmanager
def replaced(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A new file that takes the place of ``path`` when the block has ended, unless it raises.

    It is written under a temporary name in the same folder, synced and renamed. A link is followed;
    a file's mode is kept. Errors of the system name ``path``.
    """
    target = Path(os.path.realpath(path))
    old = _status(target)
    if old is not None and not stat.S_ISREG(old.st_mode):
        raise ValueError(f"{target} is not a regular file; name a file that may be replaced.")
    # A short hash, because the target's own name may be as long as the system allows.
    prefix = f".fastbp-{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}-"
    temporary: Path | None = None
    try:
        _remove_leftovers(target.parent, prefix)
        file, temporary = _new_file(target.parent, prefix, 0o666 if old is None else 0o600)
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if old is not None:
                os.chmod(temporary, stat.S_IMODE(old.st_mode))
            os.replace(temporary, target)
            temporary = None
        _sync_folder(target.parent)
    except OSError as error:  # errors of writes do not name the file
        raise OSError(error.errno, error.strerror or str(error), str(target)) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _new_file(folder: Path, prefix: str, mode: int) -> tuple[BinaryIO, Path]:
    """A file of a new name, open for writing and locked for as long as it is open."""
    while True:
        path = folder / f"{prefix}{secrets.token_hex(4)}.tmp"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, mode)
        file = os.fdopen(descriptor, "wb")
        try:
            _lock(file.fileno(), wait=True)
            if path.exists():  # if not, another save took it for a leftover before it was locked
                return file, path
        except BaseException:
            path.unlink(missing_ok=True)
            file.close()
            raise
        file.close()


_BINARY = getattr(os, "O_BINARY", 0)


def _lock(descriptor: int, wait: bool) -> bool:
    """Lock an open file; return whether that worked, as it does if its owner was killed."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        return True
    except OSError:  # another has it, or this file system knows no locks
        return False


def _remove_leftovers(folder: Path, prefix: str) -> None:
    """Remove what killed saves of the same file left behind, but nothing of running ones."""
    try:
        names = [name for name in os.listdir(folder) if name.startswith(prefix)]
    except OSError:  # a folder may be writable but not readable
        return
    for name in names:
        with contextlib.suppress(OSError):  # gone meanwhile, or another user's
            descriptor = os.open(folder / name, os.O_WRONLY)
            try:
                if _lock(descriptor, wait=False):
                    os.unlink(folder / name)
            finally:
                os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """Sync a folder, so that a new name in it reaches the disk, where folders can be opened."""
    if hasattr(os, "O_DIRECTORY"):
        with contextlib.suppress(PermissionError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
