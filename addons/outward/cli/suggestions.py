"""Proposals as text, YAML, a diff and JSON."""

import difflib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from outward.cli.write import Draft, Drafts
from outward.core.evidence import Evidence
from outward.core.model import Place
from outward.core.policy import Policy, within
from outward.core.proposal import LeftOut, Proposal, Proposed
from outward.records.events.values import rfc3339
from outward.records.text import clean

_LONGEST = 1000
_NAMED = 3  # clients
_LEFT = 20  # hosts that are shown


@dataclass(frozen=True, slots=True)
class ProposalText:
    """What there is to tell."""

    proposed: Proposed
    offers: Sequence[Proposal]
    drafts: Drafts
    policy: Policy

    def where(self, group: str) -> str:
        """Return a group's path with the file that writes it."""
        draft = self.drafts.of(group)
        return f"{group} ({draft.path})" if draft else group

    def groups(self) -> Iterator[str]:
        """Yield the paths of the groups that something is told of."""
        proposed = self.proposed
        yield from sorted({each.group for each in proposed.proposals} | {each.group for each in proposed.left_out})


def as_text(told: ProposalText) -> str:
    """Return the lines by group, each with its evidence; ends with a newline."""
    lines = []
    for group in told.groups():
        mine = [each for each in told.proposed.proposals if each.group == group]
        lines += [f"{told.where(group)}:"] if mine else []
        for each in mine:
            lines += [f"  - {_entry(each)}", f"      {_evidence(each.evidence)}{_more(each)}"]
        below = sum(within(path, group) and path != group for path in told.policy.groups)
        if mine and below:
            lines.append(f"  this holds for the {below} group{'' if below == 1 else 's'} below it too")
        lines += [f"  {line}" for offer in told.offers if offer.group == group for line in _offer(offer)]
        lines += _left([each for each in told.proposed.left_out if each.group == group], group)
    return "".join(f"{clean(line, _LONGEST)}\n" for line in (*lines, *_notes(told.proposed)))


def _entry(each: Proposal) -> str:
    return each.text if each.instead is None else f"{each.text}  # instead of line {each.instead.place.line}"


def _more(each: Proposal) -> str:
    if each.text.startswith('"@'):
        names = len({rule.pattern for rule in each.rules})
        adds = f"{each.adds} of them that nobody asked for" if each.adds else "all of them asked for"
        return f"; holds {names} name{'' if names == 1 else 's'}, {adds}"
    return f"; stands for {len(each.hosts)} names, and allows every other one below" if each.adds is None else ""


def _offer(offer: Proposal) -> Iterator[str]:
    adds = "every other name below too" if offer.adds is None else f"{offer.adds} other names too"
    yield f"or, with --wide: - {offer.text}"
    yield f"      instead of {len(offer.hosts)} names; it allows {adds}"


def _left(left: Sequence[LeftOut], group: str) -> Iterator[str]:
    if left:
        yield f"left out of {group}:"
    for each in left[:_LEFT]:
        yield f"  {each.host}: {each.why}"
        include = f"; --include {each.host.name} proposes it" if each.named else ""
        yield f"      {_evidence(each.evidence)}{include}"
    if len(left) > _LEFT:
        yield f"  and {len(left) - _LEFT} more"


def _notes(proposed: Proposed) -> Iterator[str]:
    if not proposed.proposals:
        yield "nothing to add"
    if proposed.settled:
        yield f"allowed by now: {_requests(proposed.settled)}"
    if proposed.gone:
        yield f"of groups that the policy does not have: {_requests(proposed.gone)}"
    if proposed.strangers:
        yield f"of clients without a group, for whom nothing is proposed: {_requests(proposed.strangers)}"


def _requests(count: int) -> str:
    return f"{count:,} request{'' if count == 1 else 's'}"


def _evidence(evidence: Evidence) -> str:
    text = _requests(evidence.count)
    names = sorted(evidence.clients)
    if names:
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        text += f" by {', '.join(clean(name, 64) for name in names[:_NAMED])}{more}"
    if evidence.first is not None and evidence.last is not None:
        first, last = (_time(each) for each in (evidence.first, evidence.last))
        text += f", {first}" if first == last else f", {first} to {last}"
    return text


def _time(seconds: float) -> str:
    return f"{rfc3339(seconds)[:16].replace('T', ' ')} UTC"


def as_yaml(told: ProposalText) -> str:
    """Return the entries as a part of a configuration, the evidence as comments."""
    lines = ["groups:"] if told.proposed.proposals else []
    for group in dict.fromkeys(each.group for each in told.proposed.proposals):
        lines += [f"  {group}:", "    allow:"]
        for each in told.proposed.proposals:
            if each.group == group:
                lines += [
                    f"      # {clean(_evidence(each.evidence), _LONGEST)}{_more(each)}",
                    f"      - {_entry(each)}",
                ]
    return "".join(f"{line}\n" for line in (*lines, *(f"# {note}" for note in _notes(told.proposed))))


def as_diff(changed: Iterable[tuple[Draft, str]]) -> str:
    """Return a unified diff of the policy files."""
    diffs = (
        difflib.unified_diff(
            draft.text.splitlines(keepends=True), text.splitlines(keepends=True), str(draft.path), str(draft.path)
        )
        for draft, text in changed
    )
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for diff in diffs for line in diff
    )


def as_json(told: ProposalText) -> str:
    """Return all of it as JSON."""
    proposed = told.proposed
    return json.dumps(
        {
            "proposals": [_proposal(each) for each in proposed.proposals],
            "wider": [_proposal(each) for each in told.offers],
            "left_out": [
                {
                    "group": each.group,
                    "host": each.host.name,
                    "why": each.why,
                    "entry": each.text,
                    "include": each.named,
                    **_facts(each.evidence),
                }
                for each in proposed.left_out
            ],
            "allowed_by_now": proposed.settled,
            "unknown_groups": proposed.gone,
            "without_group": proposed.strangers,
        },
        indent=2,
    )


def _proposal(each: Proposal) -> dict[str, Any]:
    return {
        "group": each.group,
        "entry": each.text,
        "hosts": sorted(host.name for host in each.hosts),
        "instead_of": None if each.instead is None else _place(each.instead.place),
        "adds_names": each.adds,
        **_facts(each.evidence),
    }


def _place(place: Place) -> dict[str, Any]:
    return {"file": place.file, "line": place.line}


def _facts(evidence: Evidence) -> dict[str, Any]:
    return {
        "count": evidence.count,
        "clients": sorted(evidence.clients),
        "first_seen": None if evidence.first is None else rfc3339(evidence.first),
        "last_seen": None if evidence.last is None else rfc3339(evidence.last),
    }
