"""The seccomp filter of the jail, as a program of classic BPF. Pure: it installs nothing.

Owns the list of what no process of the jail may ask of the kernel, because it leads out of the namespaces or round the
supervisor. A filter sees numbers only, never memory: what has to be read there goes to the supervisor (`connect`).

Sockets are a list of what is let through. Of Unix sockets only streams and sequenced packets are: any other kind can
send to an address without connecting, pairs included.
"""

import errno
import socket
import struct
from collections.abc import Mapping, Sequence

type Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand (struct sock_filter)

_LOAD, _AND, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06  # <linux/bpf_common.h>
_KILL, _ERRNO, _NOTIFY, _ALLOW = 0x80000000, 0x00050000, 0x7FC00000, 0x7FFF0000  # <linux/seccomp.h>
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data; both processors are little-endian
_X32 = 0x40000000  # numbers from here on are the x32 ABI's, which has other numbers for the same calls
_KIND = 0xF  # of a socket's type; the rest are flags

TIOCSTI, TIOCLINUX = 0x5412, 0x541C  # type into a terminal; paste into a console

ARCHITECTURES: Mapping[str, int] = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # <linux/audit.h>
_CALLS: Mapping[str, tuple[int, int]] = {  # x86_64, aarch64
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "ioctl": (16, 29),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "userfaultfd": (323, 282),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "open_by_handle_at": (304, 265),
}


def check(machine: str) -> None:
    """Make sure that there is a filter for a processor.

    Raises:
        OSError: there is none.
    """
    if machine not in ARCHITECTURES:
        raise OSError(0, f"the system calls of {machine} processors are not known")


def program(machine: str) -> bytes:
    """Return the filter for a processor, an array of `struct sock_filter`.

    Args:
        machine: a key of `ARCHITECTURES`, as `uname -m` says it.
    """
    index = list(ARCHITECTURES).index(machine)
    lines = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, ARCHITECTURES[machine]), (_RETURN, 0, 0, _KILL)]
    lines += [(_LOAD, 0, 0, _NUMBER), (_AT_LEAST, 0, 1, _X32), *_refuse(errno.ENOSYS)]
    for name, body in _rules().items():
        lines += _case(_CALLS[name][index], body)
    return b"".join(struct.pack("=HBBI", *line) for line in [*lines, *_ALLOWED])


def _refuse(number: int) -> list[Instruction]:
    return [(_RETURN, 0, 0, _ERRNO | number)]


_ALLOWED: list[Instruction] = [(_RETURN, 0, 0, _ALLOW)]


def _case(value: int, body: Sequence[Instruction]) -> list[Instruction]:
    """Run a body, which has to return, if what is loaded is a value."""
    return [(_EQUAL, 0, len(body), value), *body]


def _choose(
    argument: int,
    cases: Mapping[int, Sequence[Instruction]],
    otherwise: Sequence[Instruction],
    mask: int = 0xFFFFFFFF,
) -> list[Instruction]:
    """Choose a body by the lower half of an argument: the kernel ignores the upper one where it takes an `int`."""
    lines: list[Instruction] = [(_LOAD, 0, 0, _ARGUMENTS + 8 * argument), (_AND, 0, 0, mask)]
    for value, body in cases.items():
        lines += _case(value, body)
    return [*lines, *otherwise]


def _rules() -> dict[str, Sequence[Instruction]]:
    refused, absent = _refuse(errno.EPERM), _refuse(errno.ENOSYS)
    unix = _kinds(socket.SOCK_STREAM, socket.SOCK_SEQPACKET)
    internet = _kinds(socket.SOCK_STREAM, socket.SOCK_DGRAM)
    # Routes and addresses of the jail's own network, which the C library reads to resolve names.
    netlink = _choose(2, {0: _ALLOWED}, _refuse(errno.EPROTONOSUPPORT))
    families: dict[int, Sequence[Instruction]] = {
        socket.AF_UNIX: unix,
        socket.AF_INET: internet,
        socket.AF_INET6: internet,
        socket.AF_NETLINK: netlink,
    }
    no_family = _refuse(errno.EAFNOSUPPORT)
    return {
        "connect": [(_RETURN, 0, 0, _NOTIFY)],
        "socket": _choose(0, families, no_family),
        "socketpair": _choose(0, {socket.AF_UNIX: unix}, no_family),
        "ioctl": _choose(1, {TIOCSTI: refused, TIOCLINUX: refused}, _ALLOWED),
        # Rings make connections past the filter; programs do without them where there are none.
        **dict.fromkeys(("io_uring_setup", "io_uring_enter", "io_uring_register"), absent),
        # Keys are shared with what runs outside, and asking for one may start a program there.
        **dict.fromkeys(("add_key", "request_key", "keyctl"), absent),
        # Nothing here leads out by itself; each has been the door to the kernel's own faults.
        **dict.fromkeys(("userfaultfd", "bpf", "perf_event_open"), refused),
        # Opens files by number, past whatever is mounted over them.
        "open_by_handle_at": refused,
    }


def _kinds(*kinds: int) -> list[Instruction]:
    """Let through some kinds of socket."""
    return _choose(1, dict.fromkeys(kinds, _ALLOWED), _refuse(errno.EACCES), _KIND)
