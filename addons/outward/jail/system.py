"""System calls that Python does not have, with errors as `OSError`. Linux on x86_64 and aarch64.

Owns numbers and structures of the kernel's interface, and decides nothing.
"""

import ctypes
import errno
import os
import platform
import socket
import struct

MACHINE = platform.machine()
_ARM = MACHINE == "aarch64"
_CAPSET, _SECCOMP, _PIVOT_ROOT = (91, 277, 41) if _ARM else (126, 317, 155)
_OPEN_TREE, _MOVE_MOUNT, _PIDFD_GETFD, _MOUNT_SETATTR = 428, 429, 438, 442  # the same everywhere

MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 0x2, 0x4, 0x8, 0x4000, 0x40000  # mount(2)
_MNT_DETACH = 2
READ_ONLY, NO_SUID, NO_DEVICES, ID_MAPPED = 0x1, 0x2, 0x4, 0x100000  # mount_setattr(2)
_AT_FDCWD, _AT_SYMLINK_NOFOLLOW, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x100, 0x1000, 0x8000
_CLONE_TREE, _CLOSE_ON_EXEC, _FROM_EMPTY_PATH = 0x1, os.O_CLOEXEC, 0x4

_DEATH_SIGNAL, _DUMPABLE, _DROP, _NO_NEW_PRIVILEGES = 1, 4, 24, 38  # prctl(2)
_LAST_CAPABILITY = 63  # more than any kernel knows
CAP_SYS_CHROOT, CAP_SYS_PTRACE = 18, 19
_CAPABILITY_VERSION = 0x20080522

_SET_FILTER, _NEW_LISTENER, _KILLABLE = 1, 1 << 3, 1 << 5  # <linux/seccomp.h>

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _call(what: str, number: int, *arguments: int | bytes | None) -> int:
    """Make a system call, or raise what the kernel said."""
    typed = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return _checked(what, _libc.syscall(ctypes.c_long(number), *typed))


def _checked(what: str, result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def mount(kind: str, target: str, flags: int, options: str = "") -> None:
    """Mount a file system of a kind."""
    encoded = kind.encode(), os.fsencode(target), kind.encode()
    _checked(f"mount {kind} on {target}", _libc.mount(*encoded, ctypes.c_ulong(flags), options.encode()))


def make_private() -> None:
    """Let no mount of this namespace be seen in another, or the other way round."""
    _checked("mount /", _libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None))


def clone_tree(path: str, *, recursive: bool = False, follow: bool = True) -> int:
    """Return a descriptor of a copy of a mount, or of a part of it, that is mounted nowhere yet.

    Args:
        path: of the part.
        recursive: the mounts in it too.
        follow: a symbolic link is what it leads to, not itself.
    """
    flags = _CLONE_TREE | _CLOSE_ON_EXEC | (_AT_RECURSIVE if recursive else 0) | (0 if follow else _AT_SYMLINK_NOFOLLOW)
    return _call(f"open_tree {path}", _OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags)


def attach(tree: int, target: str, folder: int = _AT_FDCWD) -> None:
    """Mount a copy on a target, seen from a folder."""
    _call(f"move_mount {target}", _MOVE_MOUNT, tree, b"", folder, os.fsencode(target), _FROM_EMPTY_PATH)


def set_attributes(tree: int, attributes: int, *, users: int = 0, recursive: bool = False) -> None:
    """Restrict a mount.

    Args:
        tree: descriptor of its root.
        attributes: what to set.
        users: descriptor of the user namespace that maps its ids, for `ID_MAPPED`.
        recursive: the mounts in it too.
    """
    structure = struct.pack("=QQQQ", attributes, 0, 0, users)
    flags = _AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    _call("mount_setattr", _MOUNT_SETATTR, tree, b"", flags, structure, len(structure))


def pivot_to(tree: int) -> None:
    """Make a mount the root, and let go of the old one."""
    os.fchdir(tree)
    _call("pivot_root", _PIVOT_ROOT, b".", b".")
    _checked("umount", _libc.umount2(b".", _MNT_DETACH))
    os.chdir("/")


def route_all_to_loopback() -> None:
    """Make every address of version 4 one of this network namespace's own (rtnetlink(7)), with one source for all."""
    table, static, host, local = 255, 4, 254, 2
    route = struct.pack("=8BI", socket.AF_INET, 0, 0, 0, table, static, host, local, 0)
    loopback = struct.pack("=HHI", 8, 4, 1)  # RTA_OIF: the first device of any namespace
    source = struct.pack("=HH4s", 8, 7, b"\x7f\0\0\1")  # RTA_PREFSRC
    body = route + loopback + source
    new_route, asks, acknowledges, creates = 24, 0x1, 0x4, 0x400
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
        kernel.send(struct.pack("=IHHII", 16 + len(body), new_route, asks | acknowledges | creates, 1, 0) + body)
        failed = -struct.unpack_from("=i", kernel.recv(4096), 16)[0]
    if failed:
        raise OSError(failed, f"route: {os.strerror(failed)}")


def end_with_parent(number: int) -> None:
    """Have the kernel send this process a signal when its parent ends."""
    _checked("prctl", _libc.prctl(_DEATH_SIGNAL, number, 0, 0, 0))


def hide_memory() -> None:
    """Keep other processes of the same user away from this one's memory and descriptors."""
    _checked("prctl", _libc.prctl(_DUMPABLE, 0, 0, 0, 0))


def forbid_privilege() -> None:
    """Give up every capability for good, and gain none by any program."""
    for capability in range(_LAST_CAPABILITY + 1):
        if _libc.prctl(_DROP, capability, 0, 0, 0) and ctypes.get_errno() != errno.EINVAL:  # beyond those that exist
            _checked("prctl", -1)
    keep_capabilities()
    _checked("prctl", _libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))


def keep_capabilities(*kept: int) -> None:
    """Give up every capability but some, of this thread and those that it starts."""
    low = sum(1 << capability for capability in kept)
    data = struct.pack("=6I", low, low, 0, 0, 0, 0)
    _call("capset", _CAPSET, struct.pack("=Ii", _CAPABILITY_VERSION, 0), data)


def install_filter(program: bytes) -> int:
    """Install a filter for this process and all that it starts, and return the descriptor of its notifications."""
    instructions = ctypes.create_string_buffer(program, len(program))
    structure = struct.pack("@HP", len(program) // 8, ctypes.addressof(instructions))
    try:
        return _call("seccomp", _SECCOMP, _SET_FILTER, _NEW_LISTENER | _KILLABLE, structure)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return _call("seccomp", _SECCOMP, _SET_FILTER, _NEW_LISTENER, structure)  # before Linux 5.19


def take_descriptor(process: int, number: int) -> int:
    """Return a copy of another process's descriptor.

    Args:
        process: descriptor of the process (`os.pidfd_open`).
        number: of the descriptor there.
    """
    return _call("pidfd_getfd", _PIDFD_GETFD, process, number, 0)


def connect(descriptor: int, address: bytes) -> None:
    """Connect a socket to an address as the kernel reads it (`struct sockaddr`)."""
    _checked("connect", _libc.connect(descriptor, address, len(address)))
