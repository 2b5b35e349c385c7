"""The inside of `outward run --jail`: a program that enters namespaces of its own, and starts their first process.

It is run as a file by an interpreter of its own, because only a process with one thread may enter a user namespace. So
it imports everything before it enters, and the standard library only.

The listening socket that it makes goes out to the proxy, which accepts on it from outside: that is the only way out.
"""

import fcntl
import json
import os
import signal
import socket
import stat
import struct
import sys
from typing import NoReturn

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # noqa: PTH100, PTH120

from outward.jail import capture, datagrams, system, users, view
from outward.jail import filter as seccomp
from outward.jail.capture import Capture
from outward.jail.init import Control, Init

_UP = struct.pack("16sh22x", b"lo", 0x1 | 0x40)  # struct ifreq: IFF_UP, IFF_RUNNING (netdevice(7))
_SIOCSIFFLAGS = 0x8914
_BACKLOG = 512
_SPACES = os.CLONE_NEWNET | os.CLONE_NEWNS | os.CLONE_NEWPID | os.CLONE_NEWIPC


def enter(local: list[int], *, root: bool) -> tuple[list[socket.socket], socket.socket, socket.socket | None]:
    """Enter the namespaces, with what follows as their first process.

    Args:
        local: ports of this machine's localhost that are led to the proxy.
        root: as the kernel's root.

    Returns:
        What listens inside, the proxy's own first; what is asked for names; what sees refused datagrams.

    Raises:
        OSError: the kernel refuses.
    """
    if root:
        os.unshare(_SPACES)
    else:
        uid, gid = os.geteuid(), os.getegid()
        os.unshare(_SPACES | os.CLONE_NEWUSER)
        users.map_self(uid, gid)
    system.make_private()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, _UP)
    listeners = [socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG), *capture.listeners(local)]
    return listeners, capture.name_server(), datagrams.witness()


def main() -> NoReturn:
    """Enter, start the first process, and end with its status."""
    control, captures = (socket.socket(fileno=int(each)) for each in sys.argv[1:3])
    local = [int(each) for each in sys.argv[3:]]
    for each in (control, captures):
        each.set_inheritable(False)
    parent = os.getppid()
    # The proxy passes signals on; a terminal's reach this process too. Only the command is to act on them.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - {signal.SIGCHLD})
    try:
        seccomp.check(system.MACHINE)
        view.check_standard_streams()
        root = users.is_kernels_root()
        exchange, elsewhere = (users.exchanged(), users.root_elsewhere()) if root else (None, None)
        listeners, names, witness = enter(local, root=root)
        first = os.fork()
    except OSError as error:
        control.sendall(json.dumps({"refused": error.strerror or str(error)}).encode() + b"\n")
        os._exit(1)
    if first == 0:
        socket.send_fds(control, [b'{"open": true}\n'], [each.fileno() for each in listeners])
        for each in listeners:
            each.close()
        leading = Capture(captures, names, local, witness)
        Init(Control(control), {signal.Signals(each) for each in mask}, exchange, elsewhere, leading).run()
    for each in (control, captures, names, *listeners, *([witness] if witness else [])):
        each.close()
    system.end_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    with _Streams(owned=root):
        _, status = os.waitpid(first, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


class _Streams:
    """Gives standard streams to root's stand-in, so that `/dev/stderr` and such can be opened, and takes them back."""

    def __init__(self, *, owned: bool) -> None:
        self._numbers = [number for number in range(3) if owned and _is_stream(number)]

    def __enter__(self) -> None:
        self._before = [os.fstat(number).st_uid for number in self._numbers]
        for number in self._numbers:
            os.fchown(number, users.STAND_IN, -1)

    def __exit__(self, *_: object) -> None:
        for number, owner in zip(self._numbers, self._before, strict=True):
            os.fchown(number, owner, -1)


def _is_stream(number: int) -> bool:
    """Whether a descriptor is a terminal, or a pipe without a name."""
    try:
        mode, name = os.fstat(number).st_mode, os.readlink(f"/proc/self/fd/{number}")  # noqa: PTH115 - one less import
    except OSError:
        return False
    return (stat.S_ISFIFO(mode) and name.startswith("pipe:")) or os.isatty(number)


if __name__ == "__main__":
    main()
