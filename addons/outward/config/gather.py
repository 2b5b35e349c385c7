"""Reading files: the main file and those it includes, merged into one set of sections.

Owns bounds on what is read, the meaning of `include:`, and the generation that names the content.
"""

import glob
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from outward.config.confines import Confines, confine
from outward.config.diagnostics import Report
from outward.config.document import MappingNode, Node, ScalarNode, SequenceNode
from outward.config.includes import Includes, plain_name, plain_part, read_includes
from outward.config.namelists import MAX_BYTES as MAX_NAMES
from outward.config.namelists import NameFile
from outward.config.nearest import did_you_mean
from outward.config.recognise import document
from outward.core.model import Place
from outward.files import MIB, read_regular

MAX_BYTES = 128 * MIB
MAX_FILES = 10_000

_SECTIONS = ("groups", "sets")
_LISTS = ("clients", "tests")
_INCLUDABLE = ("version", *_SECTIONS, *_LISTS)


@dataclass(frozen=True, slots=True)
class Confined:
    """A source that is not trusted with everything.

    Attributes:
        by: what it may hold.
        folder: where whatever it reads lies; resolved.
    """

    by: Confines
    folder: Path


@dataclass(slots=True)
class Reach:
    """Which files a source may name that is not trusted.

    Attributes:
        folder: where they lie, by a path without symlinks.
        prefix: how their names begin; empty for any.
        left: bytes that they may still hold, all together.
    """

    folder: Path
    prefix: str = ""
    left: int = 1024 * MAX_NAMES


@dataclass(slots=True)
class Gathered:
    """What the files say.

    Attributes:
        main: the main file.
        groups, sets: nodes by name, with the name's own node.
        lists: what the files of names hold, by the name of the set that names the file.
        clients, tests: entries in the order of the files.
        files: every file that was read; those that are confined to a subtree are not among them.
        folders: where a pattern of `include` looks for files; there or not.
        includes: what the main file's `include` says.
        reach: what the files that it names may be; None if that is trusted.
        digest: over the content of all files.
    """

    main: MappingNode
    groups: dict[str, tuple[ScalarNode, Node]] = field(default_factory=dict)
    sets: dict[str, tuple[ScalarNode, Node]] = field(default_factory=dict)
    lists: dict[str, NameFile] = field(default_factory=dict)
    clients: list[Node] = field(default_factory=list)
    tests: list[Node] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    includes: Includes = field(default_factory=Includes)
    reach: "Reach | None" = None
    digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    @property
    def generation(self) -> str:
        """Twelve hex digits that name the content."""
        return self.digest.hexdigest()[:12]

    def count(self, data: bytes) -> None:
        """Let the content of a file count in the generation."""
        self.digest.update(len(data).to_bytes(8, "big"))
        self.digest.update(data)

    def following(self, other: "Gathered") -> str:
        """Return the generation of this content over another's."""
        return hashlib.sha256(other.digest.digest() + self.digest.digest()).hexdigest()[:12]


def gather_file(path: Path, report: Report, confined: Confined | None = None) -> Gathered | None:
    """Read a file and what it includes; None after reporting that the file itself cannot be used.

    Args:
        path: the file.
        report: takes the findings.
        confined: what the file may hold and where what it reads lies; None for a file that is trusted.
    """
    place = Place(str(path), 1)
    data = _read(path, place, confined, report)
    return None if data is None else gather_bytes(data, str(path), path.parent, report, path, confined=confined)


def gather_bytes(
    data: bytes,
    name: str,
    base: Path,
    report: Report,
    path: Path | None = None,
    *,
    confined: Confined | None = None,
) -> Gathered | None:
    """Read content that is at hand already, under a name, with includes relative to `base`."""
    root = document(data, name, report)
    if root is None:
        return None
    gathered = Gathered(root, files=[path] if path else [], includes=read_includes(root, report))
    gathered.reach = Reach(confined.folder) if confined else None
    gathered.count(data)
    if confined:
        confine(root, confined.by, report)
        for entry in gathered.includes.entries:
            message = f"an entry that confines files does not count in {confined.by.what}"
            report.error("E027", message, entry.node.place, entry.node.length, confined.by.cure)
    else:
        gathered.includes.search(base, path, report)
        gathered.folders += gathered.includes.folders
    merge(root, base, gathered, report)
    for node in gathered.includes.plain:
        gathered.folders += _searched(node, base)
        for included in _expand(node, base, confined, report):
            _include(included, node, gathered, confined, report)
    return gathered


def _resolved(path: Path, place: Place, confined: Confined, report: Report, length: int) -> Path | None:
    """Return the file that a confined source may read; where its symlinks lead counts, not where they lie."""
    try:
        real = path.resolve()
        if real.is_relative_to(confined.folder):
            return real
    except (OSError, RuntimeError):
        pass  # a loop of symlinks leads nowhere
    report.error("E027", f"`{path}` leads out of `{confined.folder}`", place, length, confined.by.cure)
    return None


def _read(path: Path, place: Place, confined: Confined | None, report: Report, length: int = 1) -> bytes | None:
    real = _resolved(path, place, confined, report, length) if confined else path
    if real is None:
        return None
    try:
        return read_regular(real, MAX_BYTES, below=confined.folder if confined else None)
    except OSError as error:
        report.error("E001", f"cannot read `{path}`: {cause_of(error)}", place)
        return None


def cause_of(error: OSError) -> str:
    """Return why a file cannot be read, in words."""
    text = error.strerror or "unknown"
    return text[:1].lower() + text[1:]


def _expand(node: ScalarNode, base: Path, confined: Confined | None, report: Report) -> list[Path]:
    if confined and ("**" in node.text or not {"..", "/"}.isdisjoint(Path(node.text).parts)):
        # Before anything is looked up: even that a file exists outside is nobody's business, and a search may be long.
        message = f"`{node.text}` may lead out of `{confined.folder}`, or search all of it"
        report.error("E027", message, node.place, node.length, "write a path below this file's folder, without `**`")
        return []
    names = sorted(glob.glob(node.text, root_dir=base, recursive=True))  # noqa: PTH207 - Path.glob walks hidden folders, which in a ConfigMap are the old versions
    found = [path for path in (base / name for name in names) if not path.is_dir()]
    if found or glob.has_magic(node.text):
        if not found:
            report.warning("W101", f"`{node.text}` matches no file", node.place, node.length)
        return found
    return [base / node.text]


def _searched(node: ScalarNode, base: Path) -> list[Path]:
    """Return the folder in which a pattern looks for files; none for a plain path."""
    return [base / plain_part(node.text)] if glob.has_magic(node.text) else []


def _include(path: Path, node: ScalarNode, gathered: Gathered, confined: Confined | None, report: Report) -> None:
    if path in gathered.files:
        return
    if plain_name(path) in gathered.includes.taken:
        message = f"`{path}` is confined by another entry of `include`, which counts"
        report.warning("W170", message, node.place, node.length, "write patterns that share no file")
        return
    if len(gathered.files) >= MAX_FILES:
        report.error("E020", f"more than {MAX_FILES} files", node.place, node.length)
        return
    data = _read(path, node.place, confined, report, node.length)
    if data is None:
        return
    gathered.files.append(path)
    gathered.count(data)
    if not data.strip():
        return
    root = document(data, str(path), report)
    if root is not None:
        _check_keys(root, report)
        if confined:
            confine(root, confined.by, report)
        merge(root, path.parent, gathered, report)


def _check_keys(root: MappingNode, report: Report) -> None:
    for key, value in root.items():
        if key.text not in _INCLUDABLE:
            cure = did_you_mean(key.text, _INCLUDABLE)
            report.error("E020", f"`{key.text}` belongs in the main file", key.place, key.length, cure)
        elif key.text == "version" and not (isinstance(value, ScalarNode) and value.text == "1"):
            report.error("E007", "`version` is 1", value.place, value.length)


def merge(root: MappingNode, base: Path, gathered: Gathered, report: Report) -> None:
    """Add what a file says; the files that it names lie in the folder `base`."""
    for section in _SECTIONS:
        node = root.get(section)
        if isinstance(node, MappingNode):
            for key, value in node.items():
                _define(section, key, value, gathered, report)
                if section == "sets" and isinstance(value, MappingNode) and gathered.sets[key.text][1] is value:
                    _read_names(key.text, value, base, gathered, report)
        elif node is not None:
            report.error("E007", f"`{section}` should be a mapping", node.place, node.length)
    for section in _LISTS:
        entries = root.get(section)
        if isinstance(entries, SequenceNode):
            getattr(gathered, section).extend(entries.items)
        elif entries is not None:
            report.error("E007", f"`{section}` should be a list", entries.place, entries.length)


def _define(section: str, key: ScalarNode, value: Node, gathered: Gathered, report: Report) -> None:
    """Add a group or a set, unless there is one of the name."""
    first = getattr(gathered, section).setdefault(key.text, (key, value))[0]
    if first is key:
        return
    message = f"`{key.text}` is defined twice in `{section}`"
    report.error("E017", message, key.place, key.length, f"it was first defined at {first.place}")
    if gathered.reach is not None:  # of two files of a team, either may be the one to mend
        report.error("E017", message, first.place, first.length, f"it is defined at {key.place} too")


def _read_names(name: str, node: MappingNode, base: Path, gathered: Gathered, report: Report) -> None:
    """Read the file of names that a set is: a regular file in the folder of the file that names it, or below."""
    file = node.get("file")
    for key in node.keys.values():
        if key.text != "file":
            report.error("E005", f"unknown key `{key.text}` in a set", key.place, key.length, "write `{file: PATH}`")
    if not isinstance(file, ScalarNode) or file.is_null:
        place, length = (file.place, file.length) if file else (node.place, node.length)
        report.error("E007", "a set is a list of rules, or `{file: PATH}`", place, length, "name a file of names")
        return
    path = base / file.text
    try:
        data = read_names(path, base, gathered.reach)
    except LeadsOutError as error:
        cure = "it lies in the folder of the file that names it, or below"
        report.error("E027", str(error), file.place, file.length, cure)
        return
    except (OSError, RuntimeError, ValueError) as error:  # also a loop of symlinks, or a NUL
        cause = cause_of(error) if isinstance(error, OSError) else "not a path"
        report.error("E001", f"cannot read `{path}`: {cause}", file.place, file.length)
        return
    if path not in gathered.files:
        gathered.files.append(path)
    gathered.count(data)
    gathered.lists[name] = NameFile(path, file.place, file.length, data)


class LeadsOutError(Exception):
    """A path leads out of the folder that it may lead into."""


def read_names(path: Path, base: Path, reach: Reach | None = None) -> bytes:
    """Read a file of names.

    Args:
        path: of the file.
        base: the folder of the file that names it.
        reach: bounds of a source that is not trusted: they hold whoever swaps folders meanwhile.

    Raises:
        LeadsOutError: the file lies neither in `base` nor below it, or is another's.
        OSError, RuntimeError, ValueError: it cannot be read.
    """
    folder, real = base.resolve(), path.resolve()
    if not real.is_relative_to(folder):
        raise LeadsOutError(f"`{path}` leads out of `{base}`")
    if reach is None:
        return read_regular(real, MAX_NAMES, below=folder)
    if not folder.is_relative_to(reach.folder):
        raise LeadsOutError(f"`{base}` leads out of `{reach.folder}`")
    if reach.prefix and (path.parent != base or not path.name.startswith(reach.prefix)):
        raise LeadsOutError(f"`{path.name}` does not begin with `{reach.prefix}`, as the names of this namespace do")
    data = read_regular(real, min(MAX_NAMES, reach.left), below=reach.folder)
    reach.left -= len(data)
    return data
