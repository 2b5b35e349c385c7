"""What is told of a start that fails: in words for the operator, with what helps."""

import errno
import os


class StartError(Exception):
    """The proxy cannot start; the message is for the operator."""


def refused(error: OSError) -> StartError:
    """Return what is told where the system refuses a file: which, why, and what helps against a full disk."""
    path = f"{error.filename} cannot be used: " if error.filename else ""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    cure = "; make room there, or set `server.state`, or OUTWARD_STATE, to a folder elsewhere" if full else ""
    return StartError(f"{path}{reason(error)}{cure}")


def reason(error: OSError) -> str:
    """Return the system's short text; asyncio wraps it in one that says the address again."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
