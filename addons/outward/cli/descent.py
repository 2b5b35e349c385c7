"""Whether a local connection comes from the command that `run` started, for programs that send no proxy credentials.

A JVM and a browser read no credentials from the environment. Linux tells which process holds the other end of a
loopback connection; what descends from the command, or was started with its token, is the command's. Whoever could
feign that (the same user) could read the token as well. Elsewhere nothing is told, and the token alone counts.
"""

import os
import struct
import sys
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from socket import AF_INET, AF_INET6, inet_pton

_PROC = Path("/proc")
_PATIENCE = 0.03  # seconds of CPU; the loop waits meanwhile, and who is not found by then is unknown


def descends(peer: tuple[str, int], own: tuple[str, int], token: str) -> bool:
    """Tell whether the client's end of a connection is held by a process of the command.

    Args:
        peer: the client's address and port; loopback.
        own: the proxy's.
        token: what the command's environment holds.
    """
    inode = _inode(peer, own) if sys.platform == "linux" else None
    if inode is None:
        return False
    socket, marked, until = f"socket:[{inode}]", token.encode(), time.thread_time() + _PATIENCE
    below = dict.fromkeys(_below(os.getpid(), until))
    others = (pid for pid in _all() if pid not in below and (time.thread_time() > until or _was_given(pid, marked)))
    for pid in chain(below, others):
        if time.thread_time() > until:
            return False
        if _holds(pid, socket):
            return True
    return False


def _inode(peer: tuple[str, int], own: tuple[str, int]) -> str | None:
    """Return the number of the client's socket, as the kernel lists it (proc_pid_net(5)).

    A program that speaks IPv6 reaches IPv4 by mapped addresses, as a JVM does; its socket is listed with IPv6's then.
    """
    if ":" in peer[0]:
        return _listed("tcp6", AF_INET6, peer, own)
    mapped = [(f"::ffff:{host}", port) for host, port in (peer, own)]
    return _listed("tcp", AF_INET, peer, own) or _listed("tcp6", AF_INET6, *mapped)


def _listed(table: str, family: int, peer: tuple[str, int], own: tuple[str, int]) -> str | None:
    ends = [f"{_hex(family, host)}:{port:04X}" for host, port in (peer, own)]
    try:
        with (_PROC / "net" / table).open() as lines:
            return next((words[9] for words in map(str.split, lines) if words[1:3] == ends and words[9] != "0"), None)
    except OSError:
        return None


def _hex(family: int, host: str) -> str:
    """Return an address as the kernel prints it: words of 32 bits in the machine's order."""
    packed = inet_pton(family, host.partition("%")[0])
    return "".join(f"{word:08X}" for word in struct.unpack(f"={len(packed) // 4}I", packed))


def _below(pid: int, until: float) -> list[int]:
    """Return the processes that descend from one, the youngest first, or none once the CPU time is over."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        tasks = _PROC / str(waiting.pop()) / "task"
        for task in _entries(tasks):
            if time.thread_time() > until:
                return []
            children = _children(tasks / task / "children")
            found += children
            waiting += children
    return found[::-1]


def _children(file: Path) -> list[int]:
    try:
        return [int(child) for child in file.read_text().split()]
    except OSError:
        return []


def _all() -> Iterator[int]:
    return (int(name) for name in _entries(_PROC) if name.isdecimal())


def _holds(pid: int, socket: str) -> bool:
    folder = f"/proc/{pid}/fd"
    for name in _entries(Path(folder)):
        try:
            if os.readlink(f"{folder}/{name}") == socket:  # noqa: PTH115 - a thousand of them
                return True
        except OSError:
            continue
    return False


def _was_given(pid: int, token: bytes) -> bool:
    """Tell whether a process was started with the token: it may have left its parents, as daemons do."""
    try:
        return token in (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return False


def _entries(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - names are all that is wanted
    except OSError:  # it has ended, or is another user's
        return []
