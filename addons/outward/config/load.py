"""Loading a configuration: files, environment, schema, compilation, smells. Everything that is wrong is told at once.

Owns the order of the steps. Never keeps state: each load is a new, immutable whole.
"""

import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

from outward.config.admin import check_roles
from outward.config.brought import admit, brought, lay_over
from outward.config.cases import hold_cases, read_cases
from outward.config.clients import compile_clients
from outward.config.compose import check_anyone, check_transparent, compose
from outward.config.confines import FOUND
from outward.config.diagnostics import Report
from outward.config.discovery import Found
from outward.config.environment import overlay
from outward.config.gather import Confined, Gathered, gather_bytes, gather_file
from outward.config.groups import compile_groups
from outward.config.loaded import Loaded
from outward.config.machine import Machine, discoveries
from outward.config.rules import RuleCompiler
from outward.config.schema import Document
from outward.config.secrets import check_injections
from outward.config.sets import Sets
from outward.config.settings import Settings
from outward.config.validate import validate
from outward.core.cases import Case
from outward.core.lint import lint
from outward.core.model import ClientEntry, Place
from outward.core.policy import Group, Policy

__all__ = ["Loaded", "VendorOf", "load", "load_text"]

_NOTHING = b"version: 1\n"

VendorOf = Callable[[str], str | None]


def load(
    path: Path | None,
    *,
    found: Found | None = None,
    env: Mapping[str, str] | None = None,
    vendor_of: VendorOf | None = None,
    adapters: Collection[str] = (),
    governed: Collection[str] = (),
    machine: Machine | None = None,
    hold: bool = True,
) -> Loaded:
    """Load a file and everything that it includes.

    Args:
        path: the main file, trusted as a whole; None for none, which has the defaults and no groups.
        found: what the working tree brings, confined and laid over it.
        env: the environment; None means the process's own.
        vendor_of: governed vendor of a host name, as shipped; the file's `vendors` come first.
        adapters: names that `vendors` may give; empty means any.
        governed: hosts that have a vendor, for the warning about wildcards over them.
        machine: discovery of the sets of package managers; None asks this machine.
        hold: whether a failing test of the file is an error; False leaves the tests to the caller.
    """
    report = Report()
    gathered = gather_file(path, report) if path else gather_bytes(_NOTHING, "no file", Path(), report)
    over = gather_file(found.path, report, Confined(FOUND, found.folder)) if found else None
    files = tuple(each for each in (path, found.path if found else None) if each)
    loading = _Loading(report, path.parent if path else Path(), env, vendor_of, adapters, governed, machine, hold)
    return loading.finish(gathered, files, over)


def load_text(
    text: str | bytes,
    name: str = "outward.yaml",
    *,
    base: Path | None = None,
    env: Mapping[str, str] | None = None,
    vendor_of: VendorOf | None = None,
    adapters: Collection[str] = (),
    governed: Collection[str] = (),
    machine: Machine | None = None,
) -> Loaded:
    """Load text that is at hand, under a name; includes and relative paths start at `base`, by default here."""
    report = Report()
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    base = base or Path()
    gathered = gather_bytes(data, name, base, report)
    return _Loading(report, base, env, vendor_of, adapters, governed, machine).finish(gathered, ())


_OF_WHAT_LACKS = ("W105", "W108")  # no client maps to a group; no entry of a ceiling holds a rule


@dataclass(slots=True)
class _Loading:
    """The steps after reading."""

    report: Report
    base: Path
    env: Mapping[str, str] | None
    vendor_of: VendorOf | None
    adapters: Collection[str]
    governed: Collection[str]
    machine: Machine | None
    hold: bool = True

    def finish(self, gathered: Gathered | None, files: tuple[Path, ...], over: Gathered | None = None) -> Loaded:
        """Turn what was read into settings and a policy.

        Args:
            gathered: the file that is trusted.
            files: what was meant to be read, for the one who watches it.
            over: what the working tree brought.
        """
        report = self.report
        told = brought(over.files[0], over) if over else None
        if gathered is None:
            return Loaded(None, None, report.sorted(), files, report.sources, brought=told)
        env = os.environ if self.env is None else self.env
        apart = Report(sources=report.sources)
        read = (*gathered.files, *(over.files if over else ()))
        settled = overlay(gathered.main, env, apart)
        files = (*dict.fromkeys((*files, *read)), *settled)
        by_name = (*gathered.files, *settled, *gathered.folders)
        composed = compose(gathered.main, self.base, env, self.adapters, apart)
        settings = composed.settings if composed and not apart.failed else None
        report.findings += apart.findings
        today = datetime.now(UTC).date()
        compiled = _Compiled(report, discoveries(env) if self.machine is None else self.machine, today)
        compiled.take(gathered, self.base)
        if over is not None:
            compiled.lay_over(over)
        found, cases = compiled.discovered, tuple(compiled.cases)
        if composed is None:
            return Loaded(settings, None, report.sorted(), files, report.sources, found, brought=told)
        check_injections(compiled.groups.values(), composed.settings.secrets, report)
        policy = Policy(
            generation=over.following(gathered) if over else gathered.generation,
            groups=compiled.groups,
            clients=compiled.clients,
            internal=composed.internal,
            vendor_of=_over(composed.settings, self.vendor_of),
            secrets=frozenset(each.name for each in composed.settings.secrets),
            today=today.isoformat(),
        )
        governed = (*self.governed, *composed.settings.vendors, *(server.host for server in composed.settings.mcp))
        self._smells(policy, compiled.places, governed)
        if report.failed:
            return Loaded(settings, None, report.sorted(), files, report.sources, found, brought=told)
        check_transparent(gathered.main, composed.settings, policy.clients, report)
        check_anyone(gathered.main, composed.settings, policy.clients, report)
        check_roles(gathered.main, composed.settings, policy, report)
        if not policy.groups:
            cure = "write `groups` and `clients`; `config/outward.yaml` shows how"
            report.warning("W105", "there is no group: every request will be refused", gathered.main.place, 1, cure)
        if self.hold:
            hold_cases(policy, cases, report)
        in_force = None if report.failed else policy
        return Loaded(composed.settings, in_force, report.sorted(), files, report.sources, found, cases, told, by_name)

    def _smells(self, policy: Policy, places: Mapping[str, Place], governed: Collection[str]) -> None:
        """Report the smells of what the user's own files say; shipped lists are not the user's to mend.

        Of a file that has errors, what an entry left out may have caused is not told.
        """
        for smell in lint(policy, places, governed):
            if smell.place.file in self.report.sources and not (self.report.failed and smell.ident in _OF_WHAT_LACKS):
                length = token_length(self.report.sources[smell.place.file], smell.place)
                self.report.warning(smell.ident, smell.message, smell.place, length, smell.help)


@dataclass(slots=True)
class _Compiled:
    """Groups, clients and tests: of the trusted file, then with the working tree's over them.

    Attributes:
        places: where each group is written.
        discovered: entries of the machine's own sets that were used, by name.
    """

    report: Report
    machine: Machine
    today: date
    groups: dict[str, Group] = field(default_factory=dict)
    clients: tuple[ClientEntry, ...] = ()
    cases: list[Case] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)
    discovered: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def take(self, gathered: Gathered, base: Path) -> None:
        """Compile the trusted file."""
        rules = self._rules(gathered)
        self.groups = compile_groups(gathered.groups, rules, self.report)
        rules.check_unused()
        self.clients = compile_clients(gathered.clients, self.groups, base, self.report)
        self._note(gathered)

    def lay_over(self, over: Gathered) -> None:
        """Compile what the working tree brings, which can name its own groups and sets only."""
        validate(Document, over.main, self.report, frozenset(over.main.keys) - {"version", "include"})
        rules = self._rules(over)
        found = lay_over(self.groups, self.clients, over, rules, self.report)
        rules.check_unused()
        others = compile_clients(over.clients, found, Path(), self.report)
        self.groups, self.clients = {**self.groups, **found}, admit(self.clients, others)
        self._note(over)

    def _rules(self, gathered: Gathered) -> RuleCompiler:
        own = {name: node for name, (_, node) in gathered.sets.items()}
        sets = Sets(own, self.machine, self.report, gathered.lists, self.discovered)
        return RuleCompiler(sets, self.report, self.today)

    def _note(self, gathered: Gathered) -> None:
        self.cases += read_cases(gathered.tests, self.groups, self.report)
        self.places |= {path: key.place for path, (key, _) in gathered.groups.items()}


def _over(settings: Settings, shipped: VendorOf | None) -> VendorOf:
    """Return a look-up in the file's vendors and MCP servers, then in the shipped ones."""
    own = {server.host: "mcp" for server in settings.mcp} | dict(settings.vendors)

    def vendor_of(host: str) -> str | None:
        return own.get(host) or (shipped(host) if shipped else None)

    return vendor_of


def token_length(source: str, place: Place) -> int:
    """Return how many characters the word at a place has; the core knows only where it begins."""
    line = source.split("\n", place.line)[place.line - 1][place.column - 1 :]
    found = re.match(r"""("[^"]*"|'[^']*'|[^\s,\]}]+)""", line)
    return len(found[0].rstrip(":")) if found else 1
