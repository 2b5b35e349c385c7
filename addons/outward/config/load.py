"""Loading a configuration: files, environment, schema, compilation, smells. Everything that is wrong is told at once.

Owns the order of the steps. Never keeps state: each load is a new, immutable whole.
"""

import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path

from outward.config.admin import check_roles
from outward.config.brought import brought
from outward.config.cases import hold_cases
from outward.config.compiled import Compiled
from outward.config.compose import Composed, check_anyone, check_transparent, compose
from outward.config.confines import FOUND, subtree_confines
from outward.config.diagnostics import Report
from outward.config.discovery import FoundPolicy
from outward.config.environment import overlay
from outward.config.gather import Confined, Gathered, gather_bytes, gather_file
from outward.config.groups import is_path
from outward.config.includes import Given
from outward.config.loaded import Loaded
from outward.config.machine import Machine, discoveries
from outward.config.secrets import check_secrets
from outward.config.settings import Settings
from outward.core.lint import lint
from outward.core.model import ClientEntry, Place
from outward.core.policy import Group, Policy

__all__ = ["Loaded", "VendorOf", "load", "load_confined", "load_text"]

_NOTHING = b"version: 1\n"

VendorOf = Callable[[str], str | None]


def load(
    path: Path | None,
    *,
    found: FoundPolicy | None = None,
    env: Mapping[str, str] | None = None,
    vendor_of: VendorOf | None = None,
    adapters: Collection[str] = (),
    governed: Collection[str] = (),
    machine: Machine | None = None,
    hold: bool = True,
    before: Loaded | None = None,
    restless: Collection[str] = (),
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
        before: what is in force, whose subtrees stay where a confined file has an error; None at start.
        restless: names of confined files that somebody is writing: their subtrees stay as they are in `before`.
    """
    report = Report()
    gathered = gather_file(path, report) if path else gather_bytes(_NOTHING, "no file", Path(), report)
    over = gather_file(found.path, report, Confined(FOUND, found.folder)) if found else None
    files = tuple(each for each in (path, found.path if found else None) if each)
    loading = _Loading(
        report, path.parent if path else Path(), env, vendor_of, adapters, governed, machine, hold, before, restless
    )
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


def load_confined(
    path: Path,
    under: str,
    may: Collection[str] = (),
    *,
    data: bytes | None = None,
    main: Path | None = None,
    vendor_of: VendorOf | None = None,
    adapters: Collection[str] = (),
    governed: Collection[str] = (),
    env: Mapping[str, str] | None = None,
    machine: Machine | None = None,
) -> Loaded:
    """Load one file as it would count below a path, other confined files left out.

    Args:
        path: the file.
        under: the path of its subtree.
        may: what it may hold beside the usual; without `main`.
        data: its content, where that is at hand.
        main: the file that would include it; None judges it alone, with nothing above it.
        vendor_of: as for `load`.
        adapters: as for `load`.
        governed: as for `load`.
        env: as for `load`.
        machine: as for `load`.

    Raises:
        ValueError: `under` is no path, or no entry of the main file gives it away.
    """
    if not is_path(under):
        raise ValueError(f"`{under}` is not a group's path")
    report = Report()
    gathered = gather_file(main, report) if main else gather_bytes(_NOTHING, "no file", Path(), report)
    if gathered is not None:
        if main is not None:
            entry = next((each for each in gathered.includes.entries if each.gives(under)), None)
            if entry is None:
                raise ValueError(f"no `include` of {main} gives away `{under}`")
            may = entry.may
        given = Given(path, path.parent, "", subtree_confines(under, may), data)
        gathered.includes.given = {under: [given]}
    base = main.parent if main else Path()
    loading = _Loading(report, base, env, vendor_of, adapters, governed, machine)
    return loading.finish(gathered, (main,) if main else ())


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
    before: Loaded | None = None
    restless: Collection[str] = ()
    today: date = field(default_factory=lambda: datetime.now(UTC).date())

    def finish(self, gathered: Gathered | None, files: tuple[Path, ...], over: Gathered | None = None) -> Loaded:
        """Turn what was read into settings and a policy.

        Args:
            gathered: the file that is trusted.
            files: what was meant to be read, for the one who watches it.
            over: what the working tree brought.
        """
        told = brought(over.files[0], over) if over else None
        if gathered is None:
            return Loaded(None, None, self.report.sorted(), files, self.report.sources, brought=told)
        env = os.environ if self.env is None else self.env
        composed, settings, settled = self._compose(gathered, env)
        compiled = self._compile(gathered, over, composed, env)
        grown = tuple(compiled.subtrees.values())
        confined = [path for each in grown for path in each.latest.files]
        read = (*files, *gathered.files, *(over.files if over else ()), *settled, *confined)
        loaded = Loaded(
            settings=settings,
            policy=None,
            findings=(),
            files=tuple(dict.fromkeys(read)),
            sources=self.report.sources,
            discovered=compiled.discovered,
            brought=told,
            by_name=(*gathered.files, *settled, *gathered.folders, *confined),
            folders=tuple(gathered.folders),
            subtrees=grown,
        )
        if composed is not None:
            for each in grown:
                gathered.count(each.path.encode() + each.digest)
            generation = over.following(gathered) if over else gathered.generation
            loaded = self._judge(loaded, gathered, compiled, composed, generation)
        return replace(loaded, findings=self.report.sorted())

    def _compose(
        self, gathered: Gathered, env: Mapping[str, str]
    ) -> tuple[Composed | None, Settings | None, tuple[Path, ...]]:
        """Return what the file and the environment set, the settings where they have no error, and the files read."""
        apart = Report(sources=self.report.sources)
        settled = overlay(gathered.main, env, apart)
        composed = compose(gathered.main, self.base, env, self.adapters, apart)
        self.report.findings += apart.findings
        return composed, composed.settings if composed and not apart.failed else None, tuple(settled)

    def _compile(
        self, gathered: Gathered, over: Gathered | None, composed: Composed | None, env: Mapping[str, str]
    ) -> Compiled:
        """Return the groups and clients: the file's, those of confined files below, and what a tree lays over them."""
        compiled = Compiled(self.report, discoveries(env) if self.machine is None else self.machine, self.today)
        compiled.take(gathered, self.base, self.before.subtrees if self.before else (), self.restless)
        if composed is not None and not self.report.failed:
            compiled.settle(
                lambda groups: self._policy("", groups, (), composed), composed.settings.secrets, hold=self.hold
            )
        if over is not None:
            compiled.lay_over(over)
        return compiled

    def _judge(
        self, loaded: Loaded, gathered: Gathered, compiled: Compiled, composed: Composed, generation: str
    ) -> Loaded:
        """Add the policy, unless something is wrong with it; report all that is."""
        report, secrets = self.report, composed.settings.secrets
        compiled.check_injections(secrets)
        policy = self._policy(generation, compiled.groups, compiled.clients, composed)
        policy = replace(policy, given_away=gathered.includes.covers)
        if self.before is None:  # who reloads asks for no smells
            governed = (*self.governed, *composed.settings.vendors, *(server.host for server in composed.settings.mcp))
            self._smells(policy, compiled, governed)
            check_secrets(compiled.groups, secrets, report)
        if report.failed:
            return loaded
        check_transparent(gathered.main, composed.settings, policy.clients, report)
        check_anyone(gathered.main, composed.settings, policy.clients, report)
        check_roles(gathered.main, composed.settings, policy, report)
        if not policy.groups:
            cure = "write `groups` and `clients`; `config/outward.yaml` shows how"
            report.warning("W105", "there is no group: every request will be refused", gathered.main.place, 1, cure)
        if self.hold:
            hold_cases(policy, compiled.cases, report)
        in_force = None if report.failed else policy
        cases = (*compiled.cases, *compiled.confined_cases)
        return replace(loaded, settings=composed.settings, policy=in_force, cases=cases)

    def _policy(
        self, generation: str, groups: Mapping[str, Group], clients: tuple[ClientEntry, ...], composed: Composed
    ) -> Policy:
        return Policy(
            generation=generation,
            groups=groups,
            clients=clients,
            internal=composed.internal,
            vendor_of=_over(composed.settings, self.vendor_of),
            secrets=frozenset(each.name for each in composed.settings.secrets),
            today=self.today.isoformat(),
        )

    def _smells(self, policy: Policy, compiled: Compiled, governed: Collection[str]) -> None:
        """Report the smells of what the user's own files say; shipped lists are not the user's to mend.

        Of a file that has errors, what an entry left out may have caused is not told.
        """
        texts = compiled.texts
        for smell in lint(policy, compiled.places, governed):
            if smell.place.file in texts and not (self.report.failed and smell.ident in _OF_WHAT_LACKS):
                length = token_length(texts[smell.place.file], smell.place)
                self.report.warning(smell.ident, smell.message, smell.place, length, smell.help)


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
