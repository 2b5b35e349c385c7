"""The entries of `include:`: patterns of files that are trusted like the file itself, and files confined to a subtree.

Owns the grammar of an entry, and which files it means. Looks into folders; never reads a file.
"""

import fnmatch
import glob
import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from outward.config.confines import Confines, subtree_confines
from outward.config.diagnostics import Report
from outward.config.document import MappingNode, Node, ScalarNode, SequenceNode, at
from outward.config.groups import is_path
from outward.config.schema import ConfinedModel
from outward.config.validate import validate

_NAMESPACE = "{namespace}"
_NAME = "[a-z0-9-]{1,63}"
_MARK = "\ue000"  # stands for the namespace while a pattern is translated
_CURE = 'write `{files: "namespace_{namespace}.policy.yaml", under: "k8s/{namespace}"}`'


@dataclass(frozen=True)
class ConfinedEntry:
    """An entry that confines files.

    Attributes:
        files: pattern of their paths.
        under: path of the group at or below which they write; both may hold `{namespace}`.
        may: what they may hold beside the usual.
        node: where the pattern is written.
    """

    files: str
    under: str
    may: frozenset[str]
    node: Node

    def covers(self, path: str) -> bool:
        """Tell whether a group's path lies in a subtree that this entry gives away, whether or not it has files."""
        depth = self.under.count("/") + 1
        return self.gives("/".join(path.split("/")[:depth]))

    def gives(self, under: str) -> bool:
        """Tell whether a path is a subtree that this entry gives away."""
        return self._under.fullmatch(under) is not None

    @cached_property
    def _under(self) -> re.Pattern[str]:
        return re.compile(re.escape(self.under).replace(re.escape(_NAMESPACE), _NAME))

    @cached_property
    def _base(self) -> re.Pattern[str]:
        """What the whole base name of a file must be."""
        pattern = fnmatch.translate(os.path.basename(self.files).replace(_NAMESPACE, _MARK))  # noqa: PTH119 - a pattern
        return re.compile(pattern.replace(_MARK, f"(?P<namespace>{_NAME})"))

    def found(self, base: Path) -> Iterator[tuple[Path, str]]:
        """Yield the files that there are, in order, each with the path of its subtree."""
        names = glob.glob(self.files.replace(_NAMESPACE, "*"), root_dir=base, recursive=True)  # noqa: PTH207 - Path.glob walks hidden folders, which in a ConfigMap are the old versions
        for name in sorted(names):
            met = self._base.fullmatch(os.path.basename(name))  # noqa: PTH119 - as above
            path = base / name
            if met and not path.is_dir():
                yield path, self.under.replace(_NAMESPACE, met.groupdict().get("namespace", ""))

    def prefix(self, name: str) -> str:
        """Return the beginning of a file's name that only files of its namespace have; empty without a namespace."""
        met = self._base.fullmatch(name)
        if met is None or _NAMESPACE not in self.files:
            return ""
        after = os.path.basename(self.files).partition(_NAMESPACE)[2]  # noqa: PTH119 - a pattern
        return name[: met.end("namespace")] + re.split(r"[*?]", after)[0]

    @property
    def folder(self) -> str:
        """The folder that holds all of them, as it is written: what comes before the first star."""
        return plain_part(os.path.dirname(self.files))  # noqa: PTH120 - as above

    def folders(self, base: Path) -> list[Path]:
        """Return the folders in which a new file may appear."""
        above = os.path.dirname(self.files)  # noqa: PTH120 - as above
        names = glob.glob(above, root_dir=base, recursive=True) if glob.has_magic(above) else [above]  # noqa: PTH207 - as above
        return [base / name for name in (self.folder, *names)]


def plain_part(pattern: str) -> str:
    """Return the beginning of a path pattern in which nothing is a pattern."""
    return str(Path(*itertools.takewhile(lambda part: not glob.has_magic(part), Path(pattern).parts)))


@dataclass(frozen=True, slots=True)
class Given:
    """A file that is confined.

    Attributes:
        path: of the file.
        folder: where it lies, and whatever it reads; as the entry names it.
        prefix: how the name of whatever it reads begins, in a folder that several namespaces share; empty for any.
        confines: what it may hold.
        data: its content, where that is at hand already.
    """

    path: Path
    folder: Path
    prefix: str
    confines: Confines
    data: bytes | None = None


@dataclass(slots=True)
class Includes:
    """What `include:` says.

    Attributes:
        plain: patterns of files that are trusted.
        entries: those that confine.
        given: the confined files that there are, by the path of their subtree.
        folders: where more of them may appear.
        taken: the names of files that an entry confines: nothing else includes them. By name and not by what a link
            leads to, so that nobody takes another's file away by a link to it.
    """

    plain: list[ScalarNode] = field(default_factory=list)
    entries: list[ConfinedEntry] = field(default_factory=list)
    given: dict[str, list[Given]] = field(default_factory=dict)
    folders: list[Path] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)

    def covers(self, path: str) -> bool:
        """Tell whether a group's path lies in a subtree that is given away."""
        return any(entry.covers(path) for entry in self.entries)

    def subtree(self, path: str) -> str | None:
        """Return the path of the innermost subtree with files that a group lies in, or None."""
        while path and path not in self.given:
            path = path.rpartition("/")[0]
        return path or None

    def search(self, base: Path, main: Path | None, report: Report) -> None:
        """Find the files of the entries; of two entries that match a file, the first one counts."""
        itself = plain_name(main) if main else ""
        for entry in self.entries:
            self.folders += entry.folders(base)
            matched = False
            for path, under in entry.found(base):
                name, matched = plain_name(path), True
                if name in self.taken:
                    _twice(path, entry.node, report)
                elif name != itself:
                    self.taken.add(name)
                    self._give(entry, path, under, base, report)
            if not matched:
                report.warning("W101", f"`{entry.files}` matches no file", entry.node.place, entry.node.length)

    def _give(self, entry: ConfinedEntry, path: Path, under: str, base: Path, report: Report) -> None:
        if not is_path(under):
            report.error("E038", f"`{under}` is not a group's path", entry.node.place, entry.node.length, _CURE)
            return
        given = Given(path, base / entry.folder, entry.prefix(path.name), subtree_confines(under, entry.may))
        self.given.setdefault(under, []).append(given)


def plain_name(path: Path) -> str:
    """Return a file's name from the root on, without `.` and `..`; links stay."""
    return os.path.abspath(path)  # noqa: PTH100 - `resolve` would follow links


def _twice(path: Path, node: Node, report: Report) -> None:
    message = f"`{path}` is confined by an entry already, which counts"
    report.warning("W170", message, node.place, node.length, "write patterns that share no file")


def read_includes(root: MappingNode, report: Report) -> Includes:
    """Read the `include` of a file."""
    found = Includes()
    node = root.get("include")
    if node is not None and not isinstance(node, SequenceNode):
        report.error("E020", "`include` is a list", node.place, node.length, "write `include: [groups/*.yaml]`")
    for item in node.items if isinstance(node, SequenceNode) else ():
        if isinstance(item, MappingNode):
            entry = _entry(item, report)
            found.entries += [entry] if entry else []
        elif isinstance(item, ScalarNode) and item.text and not item.is_null:
            found.plain.append(item)
        else:
            cure = 'write `groups/*.yaml`, or `{files: "teams/payments/*.yaml", under: acme/payments}`'
            report.error("E007", "`include` holds patterns of files", item.place, item.length, cure)
    return found


def _entry(node: MappingNode, report: Report) -> ConfinedEntry | None:
    model = validate(ConfinedModel, node, report, what="an entry of `include`")
    files, under = at(node, "files"), at(node, "under")
    if model is None or files is None or under is None:
        return None
    entry = ConfinedEntry(model.files, model.under, frozenset(model.may), files)
    for wrong, problem in ((files, _in_files(entry)), (under, _in_under(entry))):
        if problem:
            report.error("E038", problem, wrong.place, wrong.length, _CURE)
            return None
    return entry


def _in_files(entry: ConfinedEntry) -> str:
    if "\0" in entry.files:
        return "not a path"
    folder, base = os.path.split(entry.files)
    if entry.files.endswith("/") or not base:
        return "it names files, not a folder"
    if _NAMESPACE in folder or base.count(_NAMESPACE) > 1:
        return f"`{_NAMESPACE}` stands once, in the name of the file itself"
    if re.search(r"\{(?!namespace\})|\[", base):
        return f"`{base}` holds more than `*`, `?` and `{_NAMESPACE}`"
    before, bound, after = base.partition(_NAMESPACE)
    if bound and (re.search(r"[*?]", before) or re.match(r"[a-z0-9*?-]", after)):  # nobody chooses where it ends
        return f"before `{_NAMESPACE}` stands plain text, and after it a sign that no namespace holds, such as `.`"
    return ""


def _in_under(entry: ConfinedEntry) -> str:
    if not is_path(entry.under.replace(_NAMESPACE, "n")):
        return f"`{entry.under}` is not a group's path"
    bound = _NAMESPACE in os.path.basename(entry.files)  # noqa: PTH119 - a pattern
    if bound != (_NAMESPACE in entry.under):
        return f"`{_NAMESPACE}` stands in both, or in neither"
    return ""
