"""The inside of `outward run --jail`: a program that puts itself into namespaces and becomes the command.

Owns what the jail is made of: a user, a mount and a network namespace with nothing but loopback, no privilege, and no
socket file that leads out. It is run as a file by an interpreter of its own, because only a process with one thread may
enter a user namespace; so it uses the standard library only, and imports nothing once it has entered.

The listening socket that it makes goes out to the proxy, which accepts on it from outside: that is the only way out.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import socket
import stat
import struct
import sys

_UP = struct.pack("16sh22x", b"lo", 0x1 | 0x40)  # struct ifreq: IFF_UP, IFF_RUNNING (netdevice(7))
_SIOCSIFFLAGS = 0x8914
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000  # mount(2)
_MS_NOSUID, _MS_NODEV = 0x2, 0x4
_PDEATHSIG, _CAPBSET_DROP, _NO_NEW_PRIVS = 1, 24, 38  # prctl(2)
_CAPABILITIES = 64  # room for more than any kernel knows
_BACKLOG = 512

_libc = ctypes.CDLL(None, use_errno=True)


def _mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """Mount, or raise what the kernel said."""
    encoded = [os.fsencode(each) if each is not None else None for each in (source, target, kind)]
    if _libc.mount(*encoded, flags, options.encode() if options else None):
        number = ctypes.get_errno()
        raise OSError(number, f"mount {target}: {os.strerror(number)}")


def socket_files() -> list[str]:
    """Return the socket files that are bound in the namespace of this process."""
    with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as table:  # noqa: PTH123 - one less import
        bound = {line.split(maxsplit=7)[-1].rstrip("\n") for line in table}
    return sorted(path for path in bound if path.startswith("/") and _is_socket(path))


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)  # noqa: PTH116 - as above
    except OSError:
        return False


def enter() -> None:
    """Enter the namespaces, keeping the user's own id; close what leads out of them.

    Raises:
        OSError: the kernel refuses.
    """
    uid, gid, bound = os.geteuid(), os.getegid(), socket_files()
    os.unshare(os.CLONE_NEWUSER | os.CLONE_NEWNET | os.CLONE_NEWNS)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="utf-8") as file:  # noqa: PTH123 - as above
            file.write(text)
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    _hide_run()
    for path in bound:
        if _is_socket(path):
            _mount("/dev/null", path, None, _MS_BIND)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, _UP)


def _hide_run() -> None:
    """Lay an empty /run over the machine's: the sockets of its services live there, those to come included."""
    links = {entry.name: os.readlink(entry.path) for entry in os.scandir("/run") if entry.is_symlink()}  # noqa: PTH115 - as above
    _mount("tmpfs", "/run", "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=0755")
    for name, target in links.items():  # some systems keep their programs behind one
        os.symlink(target, f"/run/{name}")  # noqa: PTH211 - as above
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/run/"):
        os.makedirs(runtime, mode=0o700, exist_ok=True)  # noqa: PTH103 - as above


def give_up_privilege() -> None:
    """Give up every capability within the namespaces for good, and end when the proxy ends."""
    for capability in range(_CAPABILITIES):
        _libc.prctl(_CAPBSET_DROP, capability, 0, 0, 0)  # fails beyond those that exist
    _libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    _libc.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def main() -> None:
    """Enter, send the listener out, and become the command that is sent back."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)  # it closes when the command begins, and tells so
    try:
        enter()
        with socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG) as listener:
            socket.send_fds(control, [b"open"], [listener.fileno()])
    except OSError as error:
        control.sendall(str(error.strerror or error).encode())
        return
    with control.makefile("rb") as asked:
        text = asked.read()
    if not text:
        return  # the proxy has gone
    command, environment = json.loads(text)
    give_up_privilege()
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606 - running it is the purpose
    except OSError as error:
        control.sendall(json.dumps([error.errno, error.strerror]).encode())
        with contextlib.suppress(OSError):
            control.close()


if __name__ == "__main__":
    main()
