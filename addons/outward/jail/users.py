"""Who the jailed command is: an ordinary user is itself; root becomes a user of the kernel's that owns nothing.

The kernel gives its root's user id rights over its own files, capability or not. So a command of root's runs under an
id that nobody has. Files are mapped: what root owns on a disk belongs to that id in the jail, and the other way round.
"""

import contextlib
import os
import signal

from outward.jail import system

STAND_IN = 0x6F757477  # "outw"; below 2^31, as some programs need
_ALL = 4294967295
# Kinds of file system that are no files of anybody's, or that the jail makes anew.
_UNMAPPED = frozenset(
    ("proc", "sysfs", "devtmpfs", "devpts", "cgroup", "cgroup2", "mqueue", "debugfs", "tracefs", "securityfs")
) | frozenset(
    ("pstore", "efivarfs", "bpf", "configfs", "fusectl", "hugetlbfs", "binfmt_misc", "autofs", "rpc_pipefs", "nsfs")
)


def is_kernels_root() -> bool:
    """Whether this process has the kernel's own user id 0; root of a container may be somebody else.

    Raises:
        OSError: it has it, and is in a user namespace, where it cannot be given up.
    """
    if os.geteuid() != 0:
        return False
    with open("/proc/self/uid_map", encoding="utf-8") as table:  # noqa: PTH123 - one less import
        rows = [tuple(map(int, line.split())) for line in table]
    if rows == [(0, 0, _ALL)]:
        return True
    if any(inside == outside == 0 for inside, outside, _ in rows):
        raise OSError(0, "this root is the machine's, in a user namespace; run it as an ordinary user")
    return False


def map_self(uid: int, gid: int) -> None:
    """Map the ids of an ordinary user to themselves, in the user namespace that was just entered."""
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="utf-8") as file:  # noqa: PTH123 - as above
            file.write(text)


def root_elsewhere() -> int:
    """Return a user namespace in which root is the stand-in."""
    return _user_namespace(f"0 {STAND_IN} 1")


def exchanged() -> int:
    """Return a user namespace in which root and the stand-in have changed places, for files."""
    rest = _ALL - STAND_IN - 1
    return _user_namespace(f"0 {STAND_IN} 1\n1 1 {STAND_IN - 1}\n{STAND_IN} 0 1\n{STAND_IN + 1} {STAND_IN + 1} {rest}")


def _user_namespace(ids: str) -> int:
    """Return a descriptor of a new user namespace with a map of users and groups."""
    made, done = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(OSError):
            os.unshare(os.CLONE_NEWUSER)
            os.write(done, b"1")
            signal.pause()
        os._exit(1)
    os.close(done)
    try:
        if not os.read(made, 1):
            raise OSError(0, "user namespaces are refused to root")
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/{child}/{name}", "w", encoding="utf-8") as file:  # noqa: PTH123 - as above
                file.write(ids)
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(made)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def become_root_elsewhere(users: int) -> None:
    """Enter such a namespace, with every capability there and none outside."""
    os.setgroups([])
    os.setns(users, os.CLONE_NEWUSER)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def map_files(exchange: int, mounts: list[tuple[str, str]], needed: str) -> None:
    """Make a root folder of the machine's mounts with their owners exchanged, and enter it.

    What cannot be mapped (overlays, most network file systems) is there too, as for any stranger.

    Args:
        exchange: the user namespace that maps.
        mounts: mount points and their kinds, in order.
        needed: a folder that must be mapped: the command works there.

    Raises:
        OSError: the root folder, or the one that is needed, cannot be mapped.
    """
    trees: dict[str, int] = {}
    kinds = {path: kind for path, kind in mounts if kind not in _UNMAPPED}
    hard = {"/", max((path for path in kinds if path == "/" or f"{needed}/".startswith(f"{path}/")), key=len)}
    for path, kind in kinds.items():
        if path.startswith(("/proc/", "/sys/", "/dev/", "/run/")):
            continue
        with contextlib.suppress(OSError) if path not in hard else contextlib.nullcontext():
            trees[path] = system.clone_tree(path)
            _map_one(trees[path], exchange, path, kind, needed=path in hard)
    root = trees.pop("/")
    tables = {path: system.clone_tree(path, recursive=True) for path in ("/dev", "/sys")}
    system.attach(root, "/proc")  # any folder: it becomes the root in a moment
    for path, tree in (trees | tables).items():
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            system.attach(tree, path.lstrip("/"), root)
        os.close(tree)
    system.pivot_to(root)
    os.close(root)


def _map_one(tree: int, exchange: int, path: str, kind: str, *, needed: bool) -> None:
    safe = system.NO_SUID | system.NO_DEVICES
    try:
        system.set_attributes(tree, safe | system.ID_MAPPED, users=exchange)
    except OSError as error:
        if needed:
            why = f"root's files on {path} ({kind}) cannot be given to another user: {os.strerror(error.errno or 0)}"
            raise OSError(0, f"{why}; run it as an ordinary user") from error
        system.set_attributes(tree, safe)
