"""Subtrees that confined files write: what the files say, and what is in force of it.

Owns the outcome of a mistake. The last good content of that subtree stays. If there is none, its files allow nothing,
and what they forbid still holds. If that cannot be known, everything in the subtree is denied. Nothing here can make
another subtree, or the main file, fail.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from outward.config.confines import Confines, confine
from outward.config.diagnostics import Finding, Level, Report
from outward.config.document import MappingNode, ScalarNode
from outward.config.forbidding import NO_SEARCH, closed, is_closed, is_misplaced, without_allowing
from outward.config.gather import Gathered, LeadsOutError, Reach, merge, read_names
from outward.config.groups import WrittenGroup, read_groups
from outward.config.includes import Given
from outward.config.machine import Machine
from outward.config.nearest import did_you_mean
from outward.config.recognise import document
from outward.config.rules import RuleCompiler
from outward.config.schema import Document
from outward.config.sets import Sets
from outward.core.model import Place
from outward.files import MIB, read_regular

MAX_FILE = MIB
MAX_BYTES = 8 * MIB  # of all files of a subtree, its lists of names among them
MAX_FILES = 100  # of a subtree
MAX_VALUES = 100_000  # of a file
_LONGEST = 300  # characters of what is said of a file


class Standing(StrEnum):
    """What is in force of a subtree's files."""

    WHOLE = "whole"
    KEPT = "kept"
    SHUT = "shut"


_OUTCOME = {
    Standing.WHOLE: "it is in force",
    Standing.KEPT: "its last good content stays in force",
    Standing.SHUT: "until that is mended, its files allow nothing",
}


@dataclass(frozen=True)
class Content:
    """What the files of a subtree say, by themselves.

    Attributes:
        sources: the files, with what each holds; None for one that cannot be read.
        roots: the documents, with what each may hold.
        gathered: their sections; its `lists` are the files of names.
        own: what each group says, by path.
        findings: errors and warnings.
        texts: of the files, by name.
        moves: that it depends on more than these files, so that it must be compiled anew each time.
    """

    sources: tuple[tuple[Given, bytes | None], ...]
    roots: tuple[tuple[MappingNode, Given], ...]
    gathered: Gathered
    own: Mapping[str, WrittenGroup]
    findings: tuple[Finding, ...]
    texts: Mapping[str, str]
    moves: bool

    @property
    def failed(self) -> bool:
        """Whether there is an error."""
        return any(finding.level is Level.ERROR for finding in self.findings)

    @cached_property
    def digest(self) -> bytes:
        """Names the content."""
        found = hashlib.sha256()
        for given, data in self.sources:
            may = (sorted(given.confines.lanes), sorted(given.confines.group), sorted(given.confines.rule))
            found.update(f"{given.path.name}\0{may}\0{len(data or b'')}\0".encode("utf-8", "surrogateescape"))
            found.update(data or b"")
        found.update(self.gathered.digest.digest())
        return found.digest()

    @property
    def files(self) -> list[Path]:
        """Every file that was read, or was to be."""
        return [*(given.path for given, _ in self.sources), *self.gathered.files]


@dataclass(frozen=True)
class Subtree:
    """A subtree, and what is in force of its files.

    Attributes:
        path: of the group at or below which they write.
        standing: what is in force.
        latest: what the files say now.
        good: what was in force whole when it last was; None if it never was.
        own: what is in force, by the group's path.
        faults: errors of `latest` that come of the rest of the policy: tests that fail, secrets out of bounds.
    """

    path: str
    standing: Standing
    latest: Content
    good: Content | None
    own: Mapping[str, WrittenGroup] = field(repr=False)
    faults: tuple[Finding, ...] = ()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Errors and warnings of the files as they are now."""
        return (*self.latest.findings, *self.faults)

    @property
    def problem(self) -> str | None:
        """What is wrong, and what comes of it, in a line; None if nothing is."""
        if self.standing is Standing.WHOLE:
            return None
        first = next(each for each in self.findings if each.level is Level.ERROR)
        more = sum(each.level is Level.ERROR for each in self.findings) - 1
        told = _shown(f"{first.place}: {first.message}" if first.place else first.message)
        also = f" (and {more} more)" if more else ""
        closed = "until that is mended, everything there is denied"
        return f"{self.path}: {told}{also}; {closed if is_closed(self.own) else _OUTCOME[self.standing]}"

    @property
    def digest(self) -> bytes:
        """Names what is in force."""
        if self.standing is not Standing.SHUT and self.good is not None:
            return self.good.digest
        return hashlib.sha256(f"{self.standing}\0{self.path}\0".encode() + self.latest.digest).digest()


@dataclass(frozen=True, slots=True)
class SubtreeReader:
    """What reading subtrees needs.

    Attributes:
        machine: discovery of the sets of package managers.
        today: the day in UTC.
        discovered: takes the entries of the machine's sets that are used.
        before: what was in force, by path.
    """

    machine: Machine
    today: date
    discovered: dict[str, tuple[str, ...]]
    before: Mapping[str, Subtree]

    def read(self, path: str, given: Sequence[Given]) -> Subtree:
        """Return a subtree as its files are now; with errors, what is in force instead."""
        before = self.before.get(path)
        report = Report()
        sources = _sources(path, given, report)
        if before is not None and not report.findings and _same(before.latest, sources):
            latest = before.latest
        else:
            latest = self._content(sources, report)
        found = Subtree(path, Standing.WHOLE, latest, latest, latest.own)
        return self.fall_back(found) if latest.failed else found

    def fall_back(self, subtree: Subtree, faults: Iterable[Finding] = ()) -> Subtree:
        """Return a subtree without its latest content.

        Args:
            subtree: as it was read.
            faults: what is wrong with it, beside its own findings.
        """
        kept = subtree.standing is Standing.KEPT
        subtree = replace(subtree, faults=(*subtree.faults, *faults), good=None)
        before = self.before.get(subtree.path)
        good = before.good if before and not kept else None
        if good is not None and _admitted(good, subtree.latest):
            return replace(subtree, standing=Standing.KEPT, good=good, own=good.own)
        return replace(subtree, standing=Standing.SHUT, own=self._rest(subtree))

    def _content(self, sources: Sequence[tuple[Given, bytes | None]], report: Report) -> Content:
        roots = []
        for given, data in sources:
            root = document(data, str(given.path), report, MAX_VALUES) if data and data.strip() else None
            if root is not None:
                _check_keys(root, given.confines, report)
                confine(root, given.confines, report)
                roots.append((root, given))
        left = MAX_BYTES - sum(len(data or b"") for _, data in sources)
        gathered, own, moves = self._compile(roots, left, report)
        findings = _once(report.sorted())
        return Content(tuple(sources), tuple(roots), gathered, own, findings, report.sources, moves)

    def _compile(
        self, roots: Sequence[tuple[MappingNode, Given]], left: int, report: Report
    ) -> tuple[Gathered, dict[str, WrittenGroup], bool]:
        gathered = Gathered(MappingNode("", 1, 1, 1), reach=Reach(Path(), left=left))
        for root, given in roots:
            gathered.reach = Reach(given.folder.resolve(), given.prefix, gathered.reach.left if gathered.reach else 0)
            merge(root, given.path.parent, gathered, report)
        used: dict[str, tuple[str, ...]] = {}
        own = {name: node for name, (_, node) in gathered.sets.items()}
        rules = RuleCompiler(Sets(own, self.machine, report, gathered.lists, used), report, self.today)
        groups = read_groups(gathered.groups, rules, report, confined=True)
        rules.check_unused()
        self.discovered.update(used)
        return gathered, groups, bool(used)

    def _rest(self, subtree: Subtree) -> Mapping[str, WrittenGroup]:
        """Return what the files forbid, without what they allow; where that cannot be known, that all is denied."""
        latest, report = subtree.latest, Report()
        unread = len(latest.roots) < sum(data is None or bool(data.strip()) for _, data in latest.sources)
        if not unread and not any(is_misplaced(root, given.confines) for root, given in latest.roots):
            roots = [(without_allowing(root, given.confines), given) for root, given in latest.roots]
            own = self._compile(roots, MAX_BYTES, report)[1]
            if not report.failed and not any(finding.ident in _AMBIGUOUS for finding in latest.findings):
                return {path: replace(each, search=NO_SEARCH, search_place=None) for path, each in own.items()}
        first = next((each.place for each in subtree.findings if each.level is Level.ERROR and each.place), None)
        return {subtree.path: closed(first or Place(str(latest.sources[0][0].path), 1))}


def _shown(text: str) -> str:
    """Return a team's words as they can stand in a line for others: short, and without signs that do something."""
    cut = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in cut)


_AMBIGUOUS = ("E003", "E004", "E017", "E039")  # something was said twice, or not read to its end


def _sources(path: str, given: Sequence[Given], report: Report) -> list[tuple[Given, bytes | None]]:
    """Read the files of a subtree."""
    found: list[tuple[Given, bytes | None]] = []
    left = MAX_BYTES
    for each in given[:MAX_FILES]:
        data = _read(each, min(MAX_FILE, left), report)
        left -= len(data or b"")
        found.append((each, data))
    if len(given) > MAX_FILES:
        place = Place(str(given[MAX_FILES].path), 1)
        report.error("E039", f"`{path}` has more than {MAX_FILES} files", place, 1, "write fewer, larger files")
    return found


def _read(given: Given, most: int, report: Report) -> bytes | None:
    if given.data is not None:
        return given.data
    place = Place(str(given.path), 1)
    try:
        real, folder = given.path.resolve(), given.folder.resolve()
        if real.is_relative_to(folder):
            return read_regular(real, most, below=folder)
        report.error("E027", f"`{given.path}` leads out of `{given.folder}`", place, 1, "write a regular file")
    except (OSError, RuntimeError) as error:  # also a loop of symlinks
        cause = (error.strerror if isinstance(error, OSError) else None) or "it leads nowhere"
        report.error("E001", f"cannot read `{given.path}`: {cause[:1].lower()}{cause[1:]}", place)
    return None


def _same(content: Content, sources: Sequence[tuple[Given, bytes | None]]) -> bool:
    """Tell whether files hold what they held, the lists that they name too."""
    if content.moves or content.sources != tuple(sources):
        return False
    by_name = {str(given.path): given for given, _ in sources}
    try:
        for each in content.gathered.lists.values():
            given = by_name[each.place.file]
            reach = Reach(given.folder.resolve(), given.prefix, MAX_BYTES)
            if read_names(each.path, given.path.parent, reach) != each.data:
                return False
    except (OSError, RuntimeError, ValueError, LeadsOutError):
        return False
    return True


def _admitted(good: Content, latest: Content) -> bool:
    """Tell whether an earlier content holds nothing that its files may no longer hold."""
    now = {given.path: given.confines for given, _ in latest.sources}
    usual = latest.sources[0][0].confines
    report = Report()
    for root, given in good.roots:
        confine(root, now.get(given.path, usual), report)
    return not report.failed


def _check_keys(root: MappingNode, confines: Confines, report: Report) -> None:
    for key, value in root.items():
        if key.text not in Document.model_fields:
            cure = did_you_mean(key.text, confines.sections)
            report.error("E005", f"unknown key `{key.text}`", key.place, key.length, cure)
        elif key.text == "version" and not (isinstance(value, ScalarNode) and value.text == "1"):
            report.error("E007", "`version` is 1", value.place, value.length)


def _once(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings without saying of a key that does not exist that it does not count either."""
    found = tuple(findings)
    unknown = {finding.place for finding in found if finding.ident == "E005"}
    return tuple(each for each in found if each.ident != "E027" or each.place not in unknown)


def outermost_first(subtrees: Collection[Subtree]) -> list[Subtree]:
    """Return subtrees in the order in which they lie over one another: the outermost first."""
    return sorted(subtrees, key=lambda each: (each.path.count("/"), each.path))
