"""Finding the policy that holds where none is named: in the working tree, of the user, of the machine.

Owns where is looked, and what belongs to the working tree. Reads no file; whether what was found is trusted is decided
elsewhere (`trust`), and what it may hold in `confines`.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from outward.config.places import FILE_NAME, SYSTEM_FILE, home_folder, own_file

_REPOSITORY = (".git", ".hg", ".jj", ".svn")  # a folder, or in a worktree a file


@dataclass(frozen=True, slots=True)
class Tree:
    """The working tree: whatever it holds may be somebody else's.

    Attributes:
        root: the repository's root, else the working folder.
    """

    root: Path

    def holds(self, path: Path) -> bool:
        """Tell whether a path, or what its symlinks lead to, lies in the tree; what cannot be told does."""
        try:
            return path.absolute().is_relative_to(self.root) or path.resolve().is_relative_to(self.root)
        except (OSError, RuntimeError):
            return True


@dataclass(frozen=True, slots=True)
class FoundPolicy:
    """A file that nobody named.

    Attributes:
        path: of the file; relative in the working folder, so that messages are short.
    """

    path: Path

    @property
    def folder(self) -> Path:
        """The folder that whatever it reads lies in: its own, symlinks followed."""
        return self.path.parent.resolve()


@dataclass(frozen=True, slots=True)
class Choice:
    """The files that hold where none is named, or the one that is.

    Attributes:
        base: the named file, the user's own or the machine's, trusted as a whole; None if there is none.
        found: the file of the working tree, laid over `base`; None if there is none.
        named: whether `base` was named by the user.
        passed: a file in the working folder that does not count, since the folder or the file is somebody else's.
    """

    base: Path | None = None
    found: FoundPolicy | None = None
    named: bool = False
    passed: Path | None = None

    @property
    def file(self) -> Path | None:
        """The file that speaks first."""
        return self.found.path if self.found else self.base


def working_tree(folder: Path | None = None) -> Tree:
    """Return the tree that a folder, by default the working folder, belongs to."""
    here = folder.resolve() if folder else Path.cwd()
    return Tree(_repository(here) or here)


def project(env: Mapping[str, str]) -> str:
    """Return what the working tree is called in the records of `outward run`: its path, from the home folder on."""
    try:
        root = working_tree().root
    except OSError:  # the working folder is gone
        return ""
    home = Path(env.get("HOME") or "/")
    within = home != Path("/") and root.is_relative_to(home)
    return str(Path("~") / root.relative_to(home)) if within else str(root)


def choose(given: Path | None, env: Mapping[str, str], folder: Path | None = None) -> Choice:
    """Return the files to use: the named one alone, else what the tree holds over the user's own or the machine's."""
    if given is not None:
        return Choice(given, named=True)
    own = own_file(env)
    base = next((path for path in (own, SYSTEM_FILE) if path is not None and path.is_file()), None)
    try:
        here = folder.resolve(strict=True) if folder else Path.cwd()
    except OSError:
        return Choice(base)  # the working folder is gone
    folders = list(_folders(here, env))
    found = next((path for path in (each / FILE_NAME for each in folders) if os.path.lexists(path)), None)
    if found is not None and base is not None and found.resolve() == base.resolve():
        return Choice(base)
    if found is None:
        beside = here / FILE_NAME
        return Choice(base, passed=beside if not folders and os.path.lexists(beside) else None)
    if not _ours(found):
        return Choice(base, passed=found)
    return Choice(base, FoundPolicy(Path(FILE_NAME) if folder is None and found.parent == here else found))


def _folders(here: Path, env: Mapping[str, str]) -> Iterator[Path]:
    """Yield the folders to look in, the nearest first; none beyond one that is somebody else's."""
    end = _end(here, env)
    for folder in (here, *here.parents):
        if not _ours(folder):
            return
        yield folder
        if folder == end:
            return


def _end(here: Path, env: Mapping[str, str]) -> Path:
    home = home_folder(env)
    home = home.resolve() if home else None
    for folder in (here, *here.parents):
        if _is_repository(folder) or folder == home:
            return folder
    return here


def _repository(here: Path) -> Path | None:
    return next((folder for folder in (here, *here.parents) if _is_repository(folder)), None)


def _is_repository(folder: Path) -> bool:
    return any(os.path.lexists(folder / name) for name in _REPOSITORY)


def _ours(path: Path) -> bool:
    """Tell whether a file or a folder belongs to the user or to root."""
    try:
        return path.lstat().st_uid in (0, os.geteuid())
    except OSError:
        return False


def describe(choice: Choice) -> str:
    """Return what to say about which policy holds; empty if that is obvious."""
    if choice.passed is not None:
        return f"{choice.passed} is not used: it, or its folder, is another user's; --config names it if you trust it"
    if choice.found is None:
        return ""
    path = choice.found.path
    if choice.base is not None:
        return f"the policy is {path}, over {choice.base}"
    return f"the policy is {path}" if path.is_absolute() else ""
