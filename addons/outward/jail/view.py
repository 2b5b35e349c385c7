"""What the jail sees of the machine's files: all of them, but for what would lead out or hold Outward's own secrets.

Owns the mounts: a `/proc` of the jail's own processes, `/sys` that cannot be written, a `/dev` of harmless devices, an
empty `/run`, and folders that are hidden. Everything happens in a mount namespace that nobody else sees.
"""

import contextlib
import os
import stat
from collections.abc import Iterable, Sequence

from outward.jail import system
from outward.jail.system import MS_NODEV, MS_NOEXEC, MS_NOSUID

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}
_SAFE = system.NO_SUID | system.NO_DEVICES


def furnish(
    hidden: Sequence[str],
    shown: Sequence[str],
    files: Sequence[str],
    fixed: Sequence[str],
    links: Sequence[str],
    *,
    closed: Sequence[str] = (),
    owner: int | None = None,
) -> None:
    """Make the view; the process is the first of its PID namespace, and may mount.

    Args:
        hidden: absolute paths of folders that are there, and are to be empty.
        shown: files to be seen nevertheless, read-only; those outside the hidden folders are left as they are.
        files: files that cannot be written, while their folders may be moved.
        fixed: files, and folders with all in them, that cannot be written or replaced.
        links: symbolic links that cannot be replaced.
        closed: files that cannot be read.
        owner: user id that owns what is made here, where it is not this process's own.

    Raises:
        OSError: the kernel refuses.
    """
    owned = "" if owner is None else f",uid={owner},gid={owner}"
    devices = {name: system.clone_tree(f"/dev/{name}") for name in _DEVICES}
    terminal = _terminal()
    if terminal is not None:
        devices["console"] = terminal
    _restrict_all()
    _own_processes(protect=owner is not None)
    _cover("/sys", system.clone_tree("/sys", recursive=True), system.READ_ONLY | _SAFE)
    _make_devices(devices, owned)
    _make_run(owned, owner)
    for path in _automounts():
        system.mount("tmpfs", path, MS_NOSUID | MS_NODEV, "mode=0755,size=4k")
    kept = {path: system.clone_tree(path) for path in shown if _within(path, hidden)}
    hidden, links = sorted({os.path.realpath(each) for each in hidden}), [each for each in links if _replaceable(each)]
    _hold((*hidden, *fixed, *links))
    for path in hidden:
        _hide(path, {each: tree for each, tree in kept.items() if _within(each, [path])})
    for path in (*files, *fixed):
        _cover(path, system.clone_tree(path, recursive=True), system.READ_ONLY | _SAFE)
    for path in links:
        _cover(path, system.clone_tree(path, follow=False))
    for path in closed:
        if os.path.exists(path):  # noqa: PTH110 - one less import; not within what is empty by now
            _cover(path, system.clone_tree("/dev/null"), system.READ_ONLY | _SAFE)  # no device works there


def _restrict_all() -> None:
    """Let no program gain privilege, and no device node work, on any mount that is here now."""
    root = os.open("/", os.O_PATH)
    system.set_attributes(root, _SAFE, recursive=True)
    os.close(root)


def _cover(path: str, tree: int, attributes: int = 0) -> None:
    """Lay a copy of what is at a path over it, more restricted."""
    if attributes:
        system.set_attributes(tree, attributes, recursive=True)
    system.attach(tree, path)
    os.close(tree)


def _own_processes(*, protect: bool) -> None:
    """Show the processes of this namespace; nothing outside has a number here.

    The kernel's switches need its root's user id, which no process here has. Where that root made the jail, they are
    read-only besides. For others not: it would keep sandboxes within the jail from mounting a `/proc` of their own.
    """
    system.mount("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    if protect:
        _cover("/proc/sys", system.clone_tree("/proc/sys", recursive=True), system.READ_ONLY | _SAFE)


def _terminal() -> int | None:
    """Return a copy of the terminal's own node, so that its name can be found."""
    for number in range(3):
        with contextlib.suppress(OSError):
            return system.clone_tree(os.ttyname(number))
    return None


def _make_devices(devices: dict[str, int], owned: str) -> None:
    system.mount("tmpfs", "/dev", MS_NOSUID | MS_NOEXEC, f"mode=0755{owned}")
    for name, tree in devices.items():
        os.close(os.open(f"/dev/{name}", os.O_CREAT | os.O_WRONLY, 0o600))
        system.attach(tree, f"/dev/{name}")
        os.close(tree)
    for name, target in _LINKS.items():
        os.symlink(target, f"/dev/{name}")  # noqa: PTH211 - one less import
    os.mkdir("/dev/pts")  # noqa: PTH102 - as above
    system.mount("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620")
    os.mkdir("/dev/shm")  # noqa: PTH102, S108 - as above
    system.mount("tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777")  # noqa: S108 - it is the jail's own


def _make_run(owned: str, owner: int | None) -> None:
    """Lay a `/run` over the machine's that holds its links only; some systems keep their programs behind one."""
    links = {entry.name: os.readlink(entry.path) for entry in os.scandir("/run") if entry.is_symlink()}  # noqa: PTH115
    system.mount("tmpfs", "/run", MS_NOSUID | MS_NODEV, f"mode=0755{owned}")
    for name, target in links.items():
        os.symlink(target, f"/run/{name}")  # noqa: PTH211 - as above
    runtime = os.path.normpath(os.environ.get("XDG_RUNTIME_DIR", ""))
    if runtime.startswith("/run/"):
        os.makedirs(runtime, mode=0o700, exist_ok=True)  # noqa: PTH103 - as above
        if owner is not None:
            os.chown(runtime, owner, owner)


def _automounts() -> list[str]:
    """Return where a look into a folder makes a daemon outside mount something, unless we live there."""
    homes = [os.getcwd(), os.environ.get("HOME", "/")]  # noqa: PTH109 - as above
    return [path for path, kind in mounted() if kind == "autofs" and not any(_within(each, [path]) for each in homes)]


def _replaceable(link: str) -> bool:
    """Whether the command could put another in a link's place; what is laid over these folders has links of its own."""
    own = _within(link, ("/proc", "/sys", "/dev", "/run"))
    return not own and os.access(os.path.dirname(link), os.W_OK)  # noqa: PTH120 - as above


def _hold(paths: Iterable[str]) -> None:
    """Keep the names of files and folders from being given to others: a mount point's cannot be."""
    for above in sorted({above for path in paths for above in _movable(path)}, key=len):
        _cover(above, system.clone_tree(above, recursive=True))


def _hide(path: str, kept: dict[str, int]) -> None:
    """Empty a folder, but for some files."""
    system.mount("tmpfs", path, MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755,size=64k")
    for name, tree in kept.items():
        os.makedirs(os.path.dirname(name), exist_ok=True)  # noqa: PTH103, PTH120 - as above
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o644))
        system.attach(tree, name)
        os.close(tree)
    root = os.open(path, os.O_PATH)
    system.set_attributes(root, system.READ_ONLY | _SAFE, recursive=True)
    os.close(root)


def _movable(path: str) -> list[str]:
    """Return the folders above a path that could be renamed: a mount point cannot."""
    found, above = [], os.path.dirname(path)  # noqa: PTH120 - as above
    while above != "/":
        parent = os.path.dirname(above)  # noqa: PTH120 - as above
        if os.access(parent, os.W_OK):
            found.append(above)
        above = parent
    return found


def _within(path: str, folders: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders)


def mounted() -> list[tuple[str, str]]:
    """Return the mount points and their kinds of file system, in the order of `/proc/self/mountinfo`."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:  # noqa: PTH123 - as above
        rows = [line.split() for line in table]
    return [(_unescaped(row[4]), row[row.index("-") + 1]) for row in rows]


def _unescaped(text: str) -> str:
    """Undo the kernel's octal escapes of space, tab, line feed and backslash."""
    for code in ("040", "011", "012", "134"):
        text = text.replace(f"\\{code}", chr(int(code, 8)))
    return text


def check_standard_streams() -> None:
    """Refuse descriptors that carry the machine's network into the jail.

    Raises:
        OSError: standard input, output or error is a socket that could be connected elsewhere.
    """
    import socket  # noqa: PLC0415 - loaded by the caller already

    for number, name in enumerate(("input", "output", "error")):
        try:
            mode = os.fstat(number).st_mode
        except OSError:
            continue  # closed
        if not stat.S_ISSOCK(mode):
            continue
        with socket.socket(fileno=os.dup(number)) as stream:
            if stream.family != socket.AF_UNIX or stream.type not in {socket.SOCK_STREAM, socket.SOCK_SEQPACKET}:
                raise OSError(0, f"standard {name} is a socket of the machine's network: put a pipe between (`cat |`)")
