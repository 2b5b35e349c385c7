"""Groups, clients and tests: of the trusted file, of the subtrees that confined files write, of the working tree.

Owns which of them a mistake holds up: one that a subtree's files make, or that a test about it shows, that subtree
alone.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from outward.config.brought import admit, lay_over
from outward.config.cases import hold_cases, read_cases
from outward.config.clients import compile_clients
from outward.config.diagnostics import Finding, Level, Report
from outward.config.document import Node, ScalarNode, at
from outward.config.gather import Gathered
from outward.config.groups import WrittenGroup, build_groups, read_groups
from outward.config.includes import Includes
from outward.config.machine import Machine
from outward.config.rules import RuleCompiler
from outward.config.schema import Document
from outward.config.secrets import check_injections
from outward.config.sets import Sets
from outward.config.settings import SecretEntry
from outward.config.subtrees import Standing, Subtree, SubtreeReader, outermost_first
from outward.config.validate import validate
from outward.core.cases import Case
from outward.core.model import ClientEntry, Place
from outward.core.policy import Group, Policy


@dataclass(slots=True)
class Compiled:
    """What the files say, compiled.

    Attributes:
        report: takes the findings, but those of subtrees.
        machine: discovery of the sets of package managers.
        today: the day in UTC.
        cases: tests of the trusted file and the working tree, but those about a subtree.
        subtrees: by path.
        places: where each group is written.
        discovered: entries of the machine's own sets that were used, by name.
    """

    report: Report
    machine: Machine
    today: date
    groups: dict[str, Group] = field(default_factory=dict)
    clients: tuple[ClientEntry, ...] = ()
    cases: list[Case] = field(default_factory=list)
    subtrees: dict[str, Subtree] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    discovered: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _own: Mapping[str, WrittenGroup] = field(default_factory=dict)
    _includes: Includes = field(default_factory=Includes)
    _about: dict[str, list[Case]] = field(default_factory=dict)
    _reading: SubtreeReader | None = None

    def take(
        self, gathered: Gathered, base: Path, before: Iterable[Subtree] = (), restless: Collection[str] = ()
    ) -> None:
        """Compile the trusted file, and the subtrees that it gives away.

        Args:
            gathered: what was read.
            base: folder that relative paths start at.
            before: the subtrees in force.
            restless: names of confined files that somebody is writing: their subtrees stay as they are.
        """
        rules = self._rules(gathered)
        self._own, self._includes = read_groups(gathered.groups, rules, self.report), gathered.includes
        rules.check_unused()
        reading = SubtreeReader(self.machine, self.today, self.discovered, {each.path: each for each in before})
        given = gathered.includes.given
        calm = {path: each for path, each in given.items() if not any(str(one.path) in restless for one in each)}
        kept = {path: reading.before[path] for path in given.keys() - calm.keys() if path in reading.before}
        self.subtrees = kept | {path: reading.read(path, each) for path, each in calm.items()}
        self._reading = reading
        self._build()
        self.clients = compile_clients(gathered.clients, self.groups, base, self.report, self._includes.covers)
        for case in read_cases(self._named(gathered.tests), self.groups, self.report):
            under = self._includes.subtree(case.question.group or "")
            (self.cases if under is None else self._about.setdefault(under, [])).append(case)

    def settle(
        self,
        policy_of: Callable[[Mapping[str, Group]], Policy],
        secrets: Collection[SecretEntry],
        *,
        hold: bool,
    ) -> None:
        """Let each subtree that is at fault fall back, until none is.

        Args:
            policy_of: makes the policy of some groups.
            secrets: those that rules may set.
            hold: whether a failing test is a fault.
        """
        while True:
            policy = policy_of(self.groups)
            faults = {path: errors for path, errors in self._faults(policy, secrets, hold=hold) if errors}
            if not faults or self._reading is None:
                return
            for path, errors in faults.items():
                self.subtrees[path] = self._reading.fall_back(self.subtrees[path], errors)
            self._build()

    def lay_over(self, over: Gathered) -> None:
        """Compile what the working tree brings, which can name its own groups and sets only."""
        validate(Document, over.main, self.report, frozenset(over.main.keys) - {"version"})
        rules = self._rules(over)
        found = lay_over(self.groups, self.clients, over, rules, self.report)
        rules.check_unused()
        others = compile_clients(over.clients, found, Path(), self.report)
        self.groups, self.clients = {**self.groups, **found}, admit(self.clients, others)
        self.cases += read_cases(over.tests, self.groups, self.report)
        self.places |= {path: key.place for path, (key, _) in over.groups.items()}

    def check_injections(self, secrets: Collection[SecretEntry]) -> None:
        """Report rules that set a secret which they may not set; those of subtrees are told there."""
        report, confined = Report(), self._files()
        check_injections(self.groups.values(), secrets, report)
        self.report.findings += [each for each in report.findings if not each.place or each.place.file not in confined]

    @property
    def texts(self) -> Mapping[str, str]:
        """The text of each file whose rules are in force, by its name."""
        whole = [each for each in self.subtrees.values() if each.standing is Standing.WHOLE]
        return {**self.report.sources, **{name: text for each in whole for name, text in each.latest.texts.items()}}

    @property
    def confined_cases(self) -> Iterator[Case]:
        """The tests of subtrees, and those of the trusted file about them."""
        for path, subtree in self.subtrees.items():
            yield from self._about.get(path, ())
            if subtree.standing is Standing.WHOLE:
                yield from _cases(subtree, Report())

    def _build(self) -> None:
        """Build the groups; what is told of them is told once."""
        report = Report()
        layers = [self._own, *(each.own for each in outermost_first(self.subtrees.values()))]
        self.groups = build_groups(layers, report)
        known = set(self.report.findings)
        self.report.findings += [finding for finding in report.findings if finding not in known]
        self.places = {path: own.place for layer in reversed(layers) for path, own in layer.items() if own.place}

    def _named(self, tests: Iterable[Node]) -> Iterator[Node]:
        """Yield tests, but those about a group that a subtree's files do not write now."""
        for node in tests:
            named = at(node, "group")
            path = named.text if isinstance(named, ScalarNode) else ""
            if named is not None and path not in self.groups and self._includes.covers(path):
                message = f"this test is not held: no file writes the group `{path}` now"
                self.report.warning("W171", message, named.place, named.length)
            else:
                yield node

    def _faults(
        self, policy: Policy, secrets: Collection[SecretEntry], *, hold: bool
    ) -> Iterator[tuple[str, list[Finding]]]:
        """Yield the paths of subtrees with what is wrong with what is in force of them."""
        injections, files = Report(), self._files()
        check_injections(self.groups.values(), secrets, injections)
        misplaced: dict[str, list[Finding]] = {}
        for each in injections.findings:
            if each.place and each.place.file in files:
                misplaced.setdefault(files[each.place.file], []).append(each)
        for path, subtree in self.subtrees.items():
            if subtree.standing is Standing.KEPT:
                yield path, misplaced.get(path, [])
            elif subtree.standing is Standing.WHOLE:
                report = Report(misplaced.get(path, []))
                cases = (*_cases(subtree, report), *self._about.get(path, ()))
                if hold:
                    hold_cases(policy, cases, report)
                yield path, [each for each in report.findings if each.level is Level.ERROR]

    def _files(self) -> dict[str, str]:
        """Return the path of the subtree that each confined file belongs to, by the file's name."""
        return {str(given.path): path for path, each in self.subtrees.items() for given, _ in each.latest.sources}

    def _rules(self, gathered: Gathered) -> RuleCompiler:
        own = {name: node for name, (_, node) in gathered.sets.items()}
        sets = Sets(own, self.machine, self.report, gathered.lists, self.discovered)
        return RuleCompiler(sets, self.report, self.today)


def _cases(subtree: Subtree, report: Report) -> tuple[Case, ...]:
    """Return the tests of a subtree's own files; they ask for the groups that these write, and the subtree's own."""
    return read_cases(subtree.latest.gathered.tests, list(subtree.latest.own) or [subtree.path], report)
