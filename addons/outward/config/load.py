"""Loading a configuration: files, environment, schema, compilation, smells. Everything that is wrong is told at once.

Owns the order of the steps. Never keeps state: each load is a new, immutable whole.
"""

import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from outward.config.cases import hold_cases, read_cases
from outward.config.clients import compile_clients
from outward.config.compose import check_transparent, compose
from outward.config.diagnostics import Report
from outward.config.environment import overlay
from outward.config.gather import Gathered, gather_bytes, gather_file
from outward.config.groups import compile_groups
from outward.config.loaded import Loaded
from outward.config.machine import Machine, discoveries
from outward.config.rules import RuleCompiler
from outward.config.sets import Sets
from outward.config.settings import Settings
from outward.core.lint import lint
from outward.core.model import Place
from outward.core.policy import Policy

__all__ = ["Loaded", "VendorOf", "load", "load_text"]

VendorOf = Callable[[str], str | None]


def load(
    path: Path,
    *,
    env: Mapping[str, str] | None = None,
    vendor_of: VendorOf | None = None,
    adapters: Collection[str] = (),
    governed: Collection[str] = (),
    machine: Machine | None = None,
    hold: bool = True,
) -> Loaded:
    """Load a file and everything that it includes.

    Args:
        path: the main file.
        env: the environment; None means the process's own.
        vendor_of: governed vendor of a host name, as shipped; the file's `vendors` come first.
        adapters: names that `vendors` may give; empty means any.
        governed: hosts that have a vendor, for the warning about wildcards over them.
        machine: discovery of the sets of package managers; None asks this machine.
        hold: whether a failing test of the file is an error; False leaves the tests to the caller.
    """
    report = Report()
    gathered = gather_file(path, report)
    return _Loading(report, path.parent, env, vendor_of, adapters, governed, machine, hold).finish(gathered, (path,))


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

    def finish(self, gathered: Gathered | None, files: tuple[Path, ...]) -> Loaded:
        """Turn what was read into settings and a policy."""
        report = self.report
        if gathered is None:
            return Loaded(None, None, report.sorted(), files, report.sources)
        env = os.environ if self.env is None else self.env
        apart = Report(sources=report.sources)
        files = (*(gathered.files or files), *overlay(gathered.main, env, apart))
        composed = compose(gathered.main, self.base, env, self.adapters, apart)
        settings = composed.settings if composed and not apart.failed else None
        report.findings += apart.findings
        own = {name: node for name, (_, node) in gathered.sets.items()}
        sets = Sets(own, discoveries(env) if self.machine is None else self.machine, report)
        today = datetime.now(UTC).date()
        rules = RuleCompiler(sets, report, today)
        groups = compile_groups(gathered.groups, rules, report)
        rules.check_unused()
        clients = compile_clients(gathered.clients, groups, self.base, report)
        cases = read_cases(gathered.tests, groups, report)
        if composed is None or report.failed:
            return Loaded(settings, None, report.sorted(), files, report.sources, sets.discovered)
        policy = Policy(
            generation=gathered.generation,
            groups=groups,
            clients=clients,
            internal=composed.internal,
            vendor_of=_over(composed.settings, self.vendor_of),
            today=today.isoformat(),
        )
        check_transparent(gathered.main, composed.settings, clients, report)
        governed = (*self.governed, *composed.settings.vendors, *(server.host for server in composed.settings.mcp))
        self._smells(policy, {path: key.place for path, (key, _) in gathered.groups.items()}, governed)
        if self.hold:
            hold_cases(policy, cases, report)
        in_force = None if report.failed else policy
        return Loaded(composed.settings, in_force, report.sorted(), files, report.sources, sets.discovered, cases)

    def _smells(self, policy: Policy, places: Mapping[str, Place], governed: Collection[str]) -> None:
        """Report the smells of what the user's own files say; shipped lists are not the user's to mend."""
        for smell in lint(policy, places, governed):
            if smell.place.file in self.report.sources:
                length = _token_length(self.report.sources[smell.place.file], smell.place)
                self.report.warning(smell.ident, smell.message, smell.place, length, smell.help)


def _over(settings: Settings, shipped: VendorOf | None) -> VendorOf:
    """Return a look-up in the file's vendors and MCP servers, then in the shipped ones."""
    own = {server.host: "mcp" for server in settings.mcp} | dict(settings.vendors)

    def vendor_of(host: str) -> str | None:
        return own.get(host) or (shipped(host) if shipped else None)

    return vendor_of


def _token_length(source: str, place: Place) -> int:
    """Return how many characters the word at a place has; the core knows only where it begins."""
    line = source.split("\n", place.line)[place.line - 1][place.column - 1 :]
    found = re.match(r"""("[^"]*"|'[^']*'|[^\s,\]}]+)""", line)
    return len(found[0].rstrip(":")) if found else 1
