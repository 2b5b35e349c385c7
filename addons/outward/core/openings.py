"""The addresses that are not public and that entries must open, if it is known what names resolved to. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from outward.core.addresses import Address, Network, Own, is_loopback, judge_address
from outward.core.decide import decide, opened
from outward.core.entries import single, written
from outward.core.evidence import Evidence
from outward.core.model import Question
from outward.core.policy import Policy
from outward.core.proposal import Proposal, Proposed, enforced
from outward.core.reasons import Reason
from outward.core.suggest import entry_for

type Met = Mapping[Question, frozenset[Address]]
"""The addresses that were met where something was asked for."""


def open_addresses(policy: Policy, found: Proposed, met: Met) -> None:
    """Give entries the addresses that they need, and propose entries where only addresses are missing.

    Args:
        policy: as for `propose`.
        found: what was proposed for the same questions; it is changed.
        met: the addresses behind names.

    Example:
        >>> from outward.core.proposal import Demand, Known, propose
        >>> asked = question_of("https://db.corp.example", "dev")
        >>> found = propose(policy(), [Demand(asked, Evidence(1))], Known())
        >>> open_addresses(policy(), found, {asked: frozenset({ip_address("10.0.0.5")})})
        >>> found.proposals[0].text
        '{host: "db.corp.example", ports: [80, 443], addresses: ["10.0.0.5/32"]}'
    """
    for question, addresses in met.items():
        networks = _needed(policy, question, addresses)
        if not networks:
            continue
        if question.host.address is not None:
            found.left_out = [each for each in found.left_out if each.host != question.host]
            found.proposals += _alone(
                policy, question, networks, decide(enforced(policy, question.group or ""), question).reason
            )
        elif decide(enforced(policy, question.group or ""), question).allowed:
            found.proposals += _alone(policy, question, networks, Reason.ADDRESS_NOT_PUBLIC)
        else:
            found.proposals = [_with(each, question, networks) for each in found.proposals]


def _needed(policy: Policy, question: Question, addresses: frozenset[Address]) -> tuple[Network, ...]:
    """Return the addresses that the policy keeps closed, and that an entry can open: never the machine's own."""
    group = question.group or ""
    if group not in policy.groups:
        return ()
    internal = (*policy.internal, *opened(policy, decide(enforced(policy, group), question)))
    closed = (
        single(each)
        for each in sorted(addresses, key=lambda each: (each.version, each))
        if judge_address(each, question.port, internal, Own()) is not None and not is_loopback(each)
    )
    return tuple(each for each in closed if judge_address(each.network_address, question.port, (each,), Own()) is None)


def _alone(policy: Policy, question: Question, networks: tuple[Network, ...], reason: Reason) -> Iterator[Proposal]:
    """Yield an entry for one question, if there is one."""
    entry = entry_for(policy, question, reason, opening=True)
    for rule in () if entry is None or entry.comment else (replace(entry.rule, addresses=networks, inject=None),):
        yield Proposal(question.group or "", written(rule), (rule,), frozenset({question.host}), Evidence(1))


def _with(each: Proposal, question: Question, networks: tuple[Network, ...]) -> Proposal:
    if each.group != question.group or each.hosts != {question.host} or each.instead is not None:
        return each
    rules = tuple(replace(rule, addresses=tuple(dict.fromkeys((*rule.addresses, *networks)))) for rule in each.rules)
    return replace(each, rules=rules, text=written(rules[0]))
