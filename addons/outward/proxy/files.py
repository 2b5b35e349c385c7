"""Files that are written whole or not at all."""

import os
import tempfile
from pathlib import Path


def write_atomic(path: Path, data: bytes, mode: int) -> None:
    """Replace a file so that no reader ever sees half of it; a file that holds the data already is left alone.

    Args:
        path: the file; its folder exists.
        data: the whole content.
        mode: permissions, in force before the first byte is written.

    Raises:
        OSError: the file cannot be written; the old one is untouched. Its file name is the path.
    """
    if path.is_file() and path.read_bytes() == data:
        return
    try:
        _replace(path, data, mode)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _replace(path: Path, data: bytes, mode: int) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
