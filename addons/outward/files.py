"""Small files that matter: read only if they are files, replaced as a whole and synced, or locked between processes."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISREG

MIB = 1024 * 1024


_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def read_regular(path: Path, most: int = MIB, *, below: Path | None = None) -> bytes:
    """Read a regular file whole; a pipe, device or socket is refused and never waited for.

    Whatever a configuration names is read with this: a name in a file of somebody else's may lead anywhere.

    Args:
        path: the file; symlinks are followed.
        most: bytes that it may hold.
        below: a folder that the file lies in, by a path without symlinks; one that is there now is refused.

    Raises:
        OSError: it is no regular file, is larger, or cannot be read; `strerror` says which.
    """
    descriptor = os.open(path, _READ) if below is None else _open_below(path, below)
    with os.fdopen(descriptor, "rb") as file:
        if not S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, f"larger than {most // MIB} MiB" if most >= MIB else "too large", str(path))
    return data


def _open_below(path: Path, folder: Path) -> int:
    """Open a file step by step from a folder, so that nobody who swaps names meanwhile leads out of it."""
    *above, name = path.relative_to(folder).parts
    at = os.open(folder, _READ | os.O_DIRECTORY)
    try:
        for part in above:
            before, at = at, os.open(part, _READ | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            os.close(before)
        return os.open(name, _READ | os.O_NOFOLLOW, dir_fd=at)
    finally:
        os.close(at)


def replace_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file so that a reader, or a power cut, finds the old content or the new and nothing between.

    Args:
        path: the file; its folder exists. One that holds the data already is left alone.
        data: the whole content.
        mode: permissions, in force before the first byte is written.

    Raises:
        OSError: it cannot be written; the old content stays. Its file name is the path.
    """
    if path.is_file() and path.read_bytes() == data:
        return
    try:
        _replace(path, data, mode)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _replace(path: Path, data: bytes, mode: int) -> None:
    draft = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that excludes other processes and threads.

    Raises:
        OSError: the file cannot be made.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def try_lock(path: Path) -> int | None:
    """Lock a file for as long as the returned descriptor is open; None if somebody else holds it.

    Raises:
        OSError: the file cannot be made.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
