"""What discovery may look at: the environment, the system's files, and programs outside the working tree."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from outward.config.discovery import Tree, working_tree
from outward.config.places import home_folder


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where package managers are looked for.

    Attributes:
        env: the user's environment.
        root: where system-wide configuration lies.
        tree: the working tree, of which nothing counts: whatever lies there may be somebody else's.
    """

    env: Mapping[str, str]
    root: Path = Path("/")
    tree: Tree = field(default_factory=working_tree)

    @property
    def home(self) -> Path | None:
        """The user's home folder."""
        return home_folder(self.env)

    @property
    def config(self) -> Path | None:
        """The folder of the user's configuration files (XDG Base Directory Specification)."""
        given = Path(self.env.get("XDG_CONFIG_HOME", ""))
        return given if given.is_absolute() else self.home and self.home / ".config"

    def system(self, path: str) -> Path:
        """Return a system-wide file by its absolute path."""
        return self.root / path.lstrip("/")

    def named(self, variable: str) -> Path | None:
        """Return the path in a variable, unless it is relative or leads into the working tree."""
        path = Path(self.env.get(variable, ""))
        return path if path.is_absolute() and not self.tree.holds(path) else None

    def programs(self, *names: str) -> Iterator[Path]:
        """Yield the programs of some names on the path, outside the working tree; they are looked at, never run."""
        for folder in map(Path, self.env.get("PATH", "").split(os.pathsep)):
            for path in (folder / name for name in names):
                if path.is_absolute() and os.access(path, os.X_OK) and path.is_file() and not self.tree.holds(path):
                    yield path
