"""Writing proposals into policy files: shown as drafts first, checked as a whole, and then replaced at once."""

import json
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from stat import S_IMODE

import click

from outward.cli.common import called, load_configuration, refuse
from outward.config import trust
from outward.config.discovery import Choice, choose
from outward.config.edit import Addition, EditError, Spot, added, amendable
from outward.config.loaded import Loaded
from outward.config.starter import as_file
from outward.core.cases import hold
from outward.core.model import Rule
from outward.core.policy import Group, Policy
from outward.core.proposal import Proposal
from outward.core.rules import Rules
from outward.files import MIB, read_regular, replace_file

_MOST = 128 * MIB


@dataclass(frozen=True)
class Draft:
    """A file that holds groups.

    Attributes:
        path: as the configuration names it.
        text: as it was loaded.
    """

    path: Path
    text: str

    @cached_property
    def groups(self) -> Mapping[str, frozenset[tuple[Spot, str]]]:
        """The groups that it writes, and where their rules can be given more values."""
        return amendable(self.text)


class Drafts:
    """The files of a configuration, and what proposals make of them."""

    def __init__(self, drafts: Iterable[Draft]) -> None:
        self.all = tuple(drafts)

    def of(self, group: str) -> Draft | None:
        """Return the file that writes a group."""
        return next((draft for draft in self.all if group in draft.groups), None)

    def amendable(self, rule: Rule, key: str) -> bool:
        """Tell whether a key of a rule is a list of its own, in the file that writes its group."""
        place = rule.place
        spot = ((place.line, place.column), key)
        return any(
            str(draft.path) == place.file and any(spot in spots for spots in draft.groups.values())
            for draft in self.all
        )

    def changed(self, proposals: Iterable[Proposal]) -> Iterator[tuple[Draft, str]]:
        """Yield the files that proposals change, with their new text."""
        additions: dict[Path, list[Addition]] = defaultdict(list)
        for path, lines in _by_group(proposals).items():
            draft = self.of(path)
            if draft is not None:
                additions[draft.path] += _additions(path, lines)
        for draft in self.all:
            if draft.path in additions:
                yield draft, _added(draft.text, additions[draft.path])


def _by_group(proposals: Iterable[Proposal]) -> dict[str, list[Proposal]]:
    found: dict[str, list[Proposal]] = defaultdict(list)
    for each in proposals:
        found[each.group].append(each)
    return found


def _additions(path: str, lines: Iterable[Proposal]) -> Iterator[Addition]:
    plain = tuple(line.text for line in lines if line.instead is None)
    if plain:
        yield Addition(path, plain)
    for line in lines:
        if line.instead is not None:
            quoted = tuple(value if value.isalnum() else json.dumps(value) for value in line.values)
            yield Addition(path, quoted, line.instead.place, line.key)


def _added(text: str, additions: Iterable[Addition]) -> str:
    try:
        return added(text, additions)
    except EditError as error:
        raise click.ClickException(str(error)) from error


def store(
    path: Path,
    proposals: Collection[Proposal],
    drafts: Drafts,
    loaded: Loaded,
    choice: Choice,
    *,
    exact: bool = False,
) -> str:
    """Add proposals to the file that holds their groups, and return what was done in words.

    With `exact` a new file allows nothing else, and is trusted: a person has asked for it.

    Raises:
        click.ClickException: it cannot be done; the file stays as it was.
    """
    if not proposals:
        return "nothing to add"
    if choice.file is None and not os.path.lexists(path):
        return _begin(path, proposals, exact=exact)
    draft = next((draft for draft in drafts.all if draft.path.resolve() == path.resolve()), None)
    if draft is None:
        raise click.UsageError(
            f"{path} is no file of the configuration: name it, or the one that includes it, with --config"
        )
    mine = [each for each in proposals if each.group in draft.groups]
    rest = sorted({each.group for each in proposals if each not in mine})
    told = f"; not written elsewhere: {', '.join(rest)}" if rest else ""
    if not mine:
        raise click.ClickException(f"{path} holds none of these groups: {', '.join(rest)}")
    _check_trust(draft, loaded, choice)
    _check_tests(loaded, mine)
    trusted = _replace(draft, mine, loaded, choice)
    count = len(mine)
    return (
        f"{path}: {count} {'entry' if count == 1 else 'entries'} added{', and still trusted' if trusted else ''}{told}"
    )


def _begin(path: Path, proposals: Iterable[Proposal], *, exact: bool) -> str:
    text = "".join(f"{line}\n" for line in as_file([f"- {each.text}" for each in proposals], (), exact=exact))
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, text.encode(), 0o644)
    choice = choose(None, os.environ)
    mine = choice.found is not None and choice.found.path.resolve() == path.resolve()
    written = load_configuration(choice if mine else Choice(path, named=True))
    if not written.ok:
        refuse(written)
    found = written.brought
    if exact and found is not None and text in written.sources.values():  # what was written, and nothing else
        trust.trust(found, os.environ)
        return f"{path}: written, and trusted; `{called()} run` enforces it in this folder"
    return f"{path}: written; `{called()} trust {path}` puts it in force in its folder"


def _check_trust(draft: Draft, loaded: Loaded, choice: Choice) -> None:
    """Refuse a file that came with the working tree, unless a person has trusted it as it is."""
    found = loaded.brought
    if choice.found is None or found is None or trust.is_trusted(found, os.environ):
        return
    if draft.path.resolve().is_relative_to(choice.found.folder):
        raise click.ClickException(
            f"{draft.path} came with this folder, and nobody has trusted it: read it, then `outward trust {found.path}`"
        )


def _check_tests(loaded: Loaded, proposals: Iterable[Proposal]) -> None:
    """Refuse what a test of the policy's authors says must not be."""
    if loaded.policy is None:
        return
    policy = with_proposals(loaded.policy, proposals)
    for case in loaded.cases:
        outcome = hold(policy, case)
        if not outcome.passed:
            raise click.ClickException(f"{case.place}: a test would fail: {case.name}: {outcome.difference}")


def with_proposals(policy: Policy, proposals: Iterable[Proposal]) -> Policy:
    """Return a policy with entries added to its groups, and so for those below them."""
    lines = _by_group(proposals)
    built: dict[int, Group] = {}

    def build(group: Group) -> Group:
        if id(group) not in built:
            top = policy.groups.get(group.path) is group  # below it, another file may write the same path
            mine = lines.get(group.path, []) if top else []
            taken = [line.instead for line in mine if line.instead is not None]
            rules = [rule for rule in group.allow.all if rule not in taken]
            rules += [rule for line in mine for rule in line.rules]
            parent = None if group.parent is None else build(group.parent)
            built[id(group)] = replace(group, allow=Rules(rules), parent=parent)
        return built[id(group)]

    return replace(policy, groups={path: build(group) for path, group in policy.groups.items()})


def _replace(draft: Draft, proposals: Iterable[Proposal], known: Loaded, choice: Choice) -> bool:
    """Replace a file, unless it has changed meanwhile; put it back if the configuration no longer loads.

    Returns whether the working tree's policy was trusted, and is so with what was added.
    """
    path = draft.path.resolve()
    before = _read(path)
    if _loaded_as(before) != draft.text:
        raise click.ClickException(f"{draft.path} has changed meanwhile; try again")
    additions = [each for group, lines in _by_group(proposals).items() for each in _additions(group, lines)]
    after = _added(before.decode(), additions).encode()
    mode = S_IMODE(path.stat().st_mode)
    _write(path, after, mode)
    loaded = load_configuration(choice)
    kept_back = any(each.problem and draft.path in each.latest.files for each in loaded.subtrees)
    if not loaded.ok or kept_back:
        _write(path, before, mode)
        refuse(replace(loaded, findings=loaded.all_findings, sources=loaded.texts))
    if choice.found is not None and loaded.brought is not None and path.is_relative_to(choice.found.folder):
        # At a person's word: they trusted what was there, and added this; not what somebody else changes meanwhile.
        if loaded.sources == {**known.sources, str(draft.path): _loaded_as(after)}:
            trust.trust(loaded.brought, os.environ)
            return True
        click.echo(
            f"outward: other files have changed meanwhile: read them, then `outward trust {draft.path}`", err=True
        )
    return False


def _loaded_as(data: bytes) -> str:
    """Return a file's text as the loader gives it."""
    return data.decode("utf-8-sig", "replace").replace("\r\n", "\n")


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, _MOST)
    except OSError as error:
        raise click.ClickException(f"cannot read {path}: {error.strerror}") from error


def _write(path: Path, data: bytes, mode: int) -> None:
    try:
        replace_file(path, data, mode)
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from error
