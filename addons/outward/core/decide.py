"""`decide`, the one function that says yes or no.

Owns matching and the order of reasons. `decide` is total: it never raises, and whatever it does not understand is
denied. Never reads files, clocks or sockets.
"""

from collections.abc import Iterator
from dataclasses import replace

from outward.core.addresses import Address, Network, Own, Refusal, embedded, judge_address
from outward.core.model import (
    Decision,
    DenyDelivery,
    Lane,
    LaneChoice,
    Mode,
    PatternKind,
    Question,
    Rule,
    Verdict,
)
from outward.core.names import OWN_NAME, Host, is_local_name
from outward.core.placeholders import found_in
from outward.core.policy import Group, Policy
from outward.core.readings import allows, denies
from outward.core.reasons import Reason
from outward.core.secrets import Injection

_SOFTENED = frozenset(
    {
        Reason.NO_RULE,
        Reason.DENIED_BY_RULE,
        Reason.PORT_NOT_ALLOWED,
        Reason.METHOD_NOT_ALLOWED,
        Reason.PATH_NOT_ALLOWED,
    }
)
_SECURE = 443  # the port of `https` (RFC 9110 4.2.2); a rule without ports opens it for TLS


def decide(policy: Policy, question: Question) -> Decision:
    """Decide one question; never raises, and an unforeseen failure denies with `internal_error`.

    The first that applies decides:

    1. an unknown group: `unknown_client`
    2. a secret's placeholder in host or path: `secret_misdirected`
    3. the proxy's own name: `malformed_request`, since it is no destination
    4. a deny rule of the group or of any ancestor: `denied_by_rule`
    5. an allow rule of the chain, or a grant, inside every ceiling: `rule`
    6. else the nearest miss: its port, method, path or end; or `no_rule`

    Then report mode turns what it softens into `report_only`; and what no lane could carry is denied all the same.

    Example:
        >>> decide(Policy(), Question(None, Host("a.example"), 443)).reason
        <Reason.UNKNOWN_CLIENT: 'unknown_client'>
    """
    try:
        return _decide(policy, question)
    except Exception:  # noqa: BLE001 - the one place where failing means no
        return Decision(generation=str(getattr(policy, "generation", "")))


def _decide(policy: Policy, question: Question) -> Decision:
    group = policy.groups.get(question.group) if question.group is not None else None
    if group is None:
        return Decision(reason=Reason.UNKNOWN_CLIENT, question=question, generation=policy.generation)
    vendor = policy.vendor_of(question.host.name)
    bound = policy.bound.get(question.host.name, ())
    reason, rule = _first(policy, group, question)
    needs_inspection = vendor is not None or bool(bound) or _needs_sight(group, question.host)
    lane = _lane(group, rule if reason is Reason.RULE and vendor is None else None, needs_inspection=needs_inspection)
    would_reason = reason if reason in _SOFTENED and group.mode is Mode.REPORT else None
    if reason is Reason.RULE or would_reason is not None:
        barred = _barred(question, rule if reason is Reason.RULE else None, lane, vendor)
        reason, would_reason = (reason, would_reason) if barred is None else (barred, None)
    return Decision(
        verdict=Verdict(reason is Reason.RULE or would_reason is not None),
        reason=reason if would_reason is None else Reason.REPORT_ONLY,
        rule=rule,
        group=group.path,
        lane=lane,
        mode=group.mode,
        would_deny=would_reason is not None,
        would_reason=would_reason,
        question=question,
        vendor=vendor,
        needs_inspection=needs_inspection,
        denial=group.denial or DenyDelivery.CONNECT,
        ech=group.ech,
        inject=(rule.inject,) if rule and rule.inject and reason is Reason.RULE else bound,
        generation=policy.generation,
    )


def _first(policy: Policy, group: Group, question: Question) -> tuple[Reason, Rule | None]:
    """Return the first of the reasons of `decide` that applies to a known client, and the rule that gave it."""
    if policy.secrets and found_in(f"{question.host.name}{question.path or ''}", policy.secrets) is not None:
        return Reason.SECRET_MISDIRECTED, None
    if question.host.name == OWN_NAME:  # which leads nowhere, whatever a rule says
        return Reason.MALFORMED_REQUEST, None
    return _verdict(policy, group, question)


def for_any_request(policy: Policy, decision: Decision) -> bool:
    """Tell whether requests with other methods and paths to the same host and port get the same decision.

    A deny rule for a network may judge them by the address that the host is resolved to. A placeholder in a path is
    judged before anything else: it takes a question of its own.

    Example:
        >>> held = policy(rule("a.example"))
        >>> for_any_request(held, decide(held, question_of("https://a.example", "dev")))
        True
    """
    group = policy.groups.get(decision.group or "")
    if group is None or decision.needs_inspection:
        return False
    return not any(node.deny.networks for node in group.chain)


def set_for(policy: Policy, group: str | None, host: Host) -> Iterator[Injection]:
    """Yield what the rules of a group set on some requests to a host, whichever they are.

    Example:
        >>> sets = Injection("authorization", "Bearer {github}")
        >>> [each.header for each in set_for(policy(rule("a.example", inject=sets)), "dev", Host("a.example"))]
        ['authorization']
    """
    yield from policy.bound.get(host.name, ())
    found = policy.groups.get(group or "")
    if found is not None:
        yield from (rule.inject for _, rule in found.offers(host) if rule.inject is not None)


def _barred(question: Question, rule: Rule | None, lane: Lane, vendor: str | None) -> Reason | None:
    """Return what speaks against an allowed question in every mode, or None."""
    if vendor is not None and lane is Lane.TUNNEL and question.method is None:
        return Reason.WEB_SEARCH_UNINSPECTABLE
    if question.clear and question.port == _SECURE and (rule is None or rule.tls):
        return Reason.NOT_TLS  # it could only end in an error there, after the request was told in the clear
    if question.bare and (rule is None or rule.tls or vendor is not None):
        return Reason.NOT_TLS
    return None


def _lane(group: Group, rule: Rule | None, *, needs_inspection: bool) -> Lane:
    if rule is not None and not rule.tls:
        return Lane.TUNNEL
    if group.lane is LaneChoice.AUTO:
        return Lane.INSPECT if needs_inspection else Lane.TUNNEL
    return Lane(group.lane)


def _needs_sight(group: Group, host: Host) -> bool:
    """Tell whether any rule on the chain, ceilings included, judges more of the host's requests than the host."""
    for node in group.chain:
        for rules in (node.allow, node.deny, node.ceiling):
            if rules is not None and rules.needs_inspection and any(rule.needs_sight for rule in rules.for_host(host)):
                return True
    return group.granted.needs_inspection and any(rule.needs_sight for rule in group.granted.for_host(host))


def _verdict(policy: Policy, group: Group, question: Question) -> tuple[Reason, Rule | None]:
    """Return the reason and the rule that gave it."""
    l4_only = question.method is None and group.lane is LaneChoice.TUNNEL
    denying = _denying(group, question, l4_only)
    if denying is not None:
        return Reason.DENIED_BY_RULE, denying
    closest, blocked = Reason.NO_RULE, None
    for node, rule in group.offers(question.host):
        miss, culprit = _miss(policy, group, node, rule, question)
        if miss is None:
            return Reason.RULE, rule
        if closest is Reason.NO_RULE or miss is Reason.RULE_EXPIRED:
            closest, blocked = miss, culprit
    return closest, blocked


def _miss(
    policy: Policy, group: Group, node: Group, rule: Rule, question: Question
) -> tuple[Reason | None, Rule | None]:
    """Return why an allow rule of `node` does not allow the question, and the rule that says so."""
    unseen = question.method is None and (group.lane is LaneChoice.TUNNEL or not rule.tls)
    miss = misses(policy, rule, question, unseen) or above_ceiling(policy, node, question, unseen)
    if miss is None and unseen:
        denying = _denying(group, question, l4_only=True)
        return (None, None) if denying is None else (Reason.DENIED_BY_RULE, denying)
    return miss, None if miss is Reason.NO_RULE else rule


def address_denied(policy: Policy, decision: Decision, address: Address) -> Rule | None:
    """Return the deny rule for a network that an allowed name has been resolved into, or None.

    A tunnel is blind, so that there a rule with methods or paths denies as well.

    Example:
        >>> held = policy(rule("a.example"), deny=[rule("10.0.0.0/8")])
        >>> decision = decide(held, question_of("https://a.example", "dev"))
        >>> str(address_denied(held, decision, ip_address("10.0.0.1")).pattern)
        '10.0.0.0/8'
    """
    question, group = decision.question, policy.groups.get(decision.group or "")
    if question is None or group is None or not any(node.deny.networks for node in group.chain):
        return None
    for each in (address, *embedded(address)):
        denying = _denying(group, replace(question, host=Host(str(each), each)), l4_only=question.method is None)
        if denying is not None:
            return denying
    return None


def address_refused(policy: Policy, decision: Decision, address: Address, port: int, own: Own) -> Refusal | None:
    """Judge an address by what it is: not public, unless the policy or a rule that allows the question opens it.

    Example:
        >>> held = policy(rule("a.example", addresses=[ip_network("10.0.0.1/32")]))
        >>> decision = decide(held, question_of("https://a.example", "dev"))
        >>> address_refused(held, decision, ip_address("10.0.0.1"), 443, Own())
        >>> address_refused(held, decision, ip_address("10.0.0.2"), 443, Own()).what
        'private'
    """
    refusal = judge_address(address, port, policy.internal, own)
    if refusal is None:
        return None
    more = tuple(opened(policy, decision))
    return judge_address(address, port, (*policy.internal, *more), own) if more else refusal


def opened(policy: Policy, decision: Decision) -> Iterator[Network]:
    """Yield the networks of every rule that allows what was asked; report mode opens none.

    Example:
        >>> held = policy(rule("a.example", addresses=[ip_network("10.0.0.1/32")]))
        >>> list(opened(held, decide(held, question_of("https://a.example", "dev"))))
        [IPv4Network('10.0.0.1/32')]
    """
    question, group = decision.question, policy.groups.get(decision.group or "")
    if question is None or group is None:
        return
    for node, rule in group.offers(question.host):
        if rule.addresses and _miss(policy, group, node, rule, question)[0] is None:
            yield from rule.addresses


def _denying(group: Group, question: Question, l4_only: bool) -> Rule | None:
    for node in group.chain:
        for rule in node.deny.for_host(question.host):
            if refuses(rule, question, l4_only):
                return rule
    return None


def above_ceiling(policy: Policy, node: Group, question: Question, l4_only: bool) -> Reason | None:
    """Judge an allow rule of `node` by the ceilings of the node's ancestors.

    Example:
        >>> node = Group("acme/dev", parent=Group("acme", ceiling=Rules([rule("*.a.example")])))
        >>> str(above_ceiling(Policy(), node, question_of("https://b.example", "acme/dev"), l4_only=False))
        'no_rule'
    """
    ancestor = node.parent
    while ancestor is not None:
        if ancestor.ceiling is not None and not any(
            misses(policy, rule, question, l4_only) is None for rule in ancestor.ceiling.for_host(question.host)
        ):
            return Reason.NO_RULE
        ancestor = ancestor.parent
    return None


def misses(policy: Policy, rule: Rule, question: Question, l4_only: bool) -> Reason | None:
    """Return why an allow rule for the host does not allow the question, or None if it does.

    Example:
        >>> str(misses(Policy(), rule("a.example"), question_of("https://a.example:22", "dev"), l4_only=False))
        'port_not_allowed'
    """
    miss = _mismatch(rule, question, l4_only)
    return Reason.RULE_EXPIRED if miss is None and policy.expired(rule) else miss


def _mismatch(rule: Rule, question: Question, l4_only: bool) -> Reason | None:
    if rule.pattern.kind is PatternKind.ANY and is_local_name(question.host.name):
        return Reason.NO_RULE
    if rule.ports is not None and question.port not in rule.ports:
        return Reason.PORT_NOT_ALLOWED
    if question.method is None:
        return Reason.METHOD_NOT_ALLOWED if l4_only and rule.needs_sight else None
    if rule.methods is not None and question.method not in rule.methods:
        return Reason.METHOD_NOT_ALLOWED
    if rule.paths is not None and not allows(rule.paths, question.path or "", encoded_slash=rule.encoded_slash):
        return Reason.PATH_NOT_ALLOWED
    return None


def refuses(rule: Rule, question: Question, l4_only: bool) -> bool:
    """Tell whether a deny rule for the host denies the question; what cannot be seen or read counts as a match.

    Example:
        >>> refuses(rule("a.example", methods={"POST"}), question_of("https://a.example/", "dev"), l4_only=False)
        False
    """
    if rule.ports is not None and question.port not in rule.ports:
        return False
    if question.method is None:
        return l4_only or not rule.needs_sight
    if rule.methods is not None and question.method not in rule.methods:
        return False
    return rule.paths is None or denies(rule.paths, question.path or "", encoded_slash=rule.encoded_slash)
