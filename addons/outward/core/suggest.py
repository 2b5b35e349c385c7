"""What to do about a denial, and the line that would allow it. Pure; suggests, never judges whether one should.

A line adds what was missing and nothing else: it names one host, and keeps the limits of the rule that is there. Before
it is shown, `decide` is asked whether the policy with this line allows the request.
"""

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import ip_address

from outward.core.addresses import Address, Own, is_loopback, judge_address
from outward.core.decide import decide, opened
from outward.core.entries import exactly, one_path, single, written
from outward.core.model import DEFAULT_PORTS, Decision, Mode, Place, Question, Rule, Stage
from outward.core.names import Host, MalformedHostError, canonical_host, is_loopback_name
from outward.core.policy import Group, Policy
from outward.core.reasons import MEANINGS, Reason
from outward.core.rules import Rules

MISSES = (Reason.NO_RULE, Reason.PORT_NOT_ALLOWED, Reason.METHOD_NOT_ALLOWED, Reason.PATH_NOT_ALLOWED)
_CURED = frozenset((*MISSES, Reason.NOT_TLS, Reason.REPORT_ONLY, Reason.ADDRESS_NOT_PUBLIC))
_LOOPBACKS = (ip_address("127.0.0.1"), ip_address("::1"))
_ASKS = (Reason.NO_RULE, Reason.PORT_NOT_ALLOWED)  # their cure is the line
_METHOD = re.compile(r"[A-Z][A-Z0-9_-]*")  # what a rule can name
_NEW = Place("", 0)
BARE = "tcp"  # how events call the scheme of what is neither TLS nor HTTP
_NEVER_TLS = frozenset({22, 9418})  # SSH (RFC 4253 4.2) and git's own protocol

_LOOPBACK = (
    "A proxy's loopback is not the client's: for a service on the client's own machine, add {host} to NO_PROXY there."
)
_PRIVATE = 'This address is not public. If it is meant to be reached, its rule needs `addresses: ["{network}"]`.'
_ADVICE: dict[str, str] = {
    Stage.TLS: "Check its certificate, and whether `upstream.trust` holds the CA that signed it.",
    Stage.RESPONSE: (
        "Its answer is not what HTTP asks for: ask the one who runs it. One that speaks HTTP/2 only needs a client that"
        " offers nothing else than h2 (gRPC), or `lane: tunnel`."
    ),
}
_NEVER = "This address is never dialled, whatever the policy says."


@lru_cache(maxsize=1024)
def cure(
    reason: Reason, host: str | None, address: str | None = None, stage: str | None = None, *, line: bool = True
) -> str:
    """Return what to do about a denial: the reason's own cure, unless that is a rule and a rule alone would not help.

    Args:
        reason: why it was blocked.
        host: canonical host name, or an address without brackets.
        address: the address that was refused, where one was.
        stage: where it was blocked.
        line: whether a line is suggested beside it.

    Example:
        >>> cure(Reason.PORT_NOT_ALLOWED, "a.example")
        'Ask for the suggested line, which names the port.'
    """
    if host and reason in (*MISSES, Reason.REPORT_ONLY, Reason.ADDRESS_NOT_PUBLIC):
        if is_loopback_name(host):
            return _LOOPBACK.format(host=host)
        met = _address(address if address and reason is Reason.ADDRESS_NOT_PUBLIC else host)
        if met is not None and judge_address(met, 0, (), Own()) is not None:
            return _of_address(met, host)
    if not line and reason in _ASKS:
        return "No line of the group's own list would allow it: ask the one who owns the policy."
    if reason is Reason.UPSTREAM_FAILED and stage in _ADVICE:
        return _ADVICE[stage]
    return MEANINGS[reason].cure


def _of_address(address: Address, host: str) -> str:
    if is_loopback(address):
        return _LOOPBACK.format(host=host)
    return (
        _PRIVATE.format(network=single(address))
        if judge_address(address, 0, (single(address),), Own()) is None
        else _NEVER
    )


def question_about(
    group: str | None, host: str | None, port: int | None, *, method: str | None, path: str | None, scheme: str | None
) -> Question | None:
    """Return the question behind a recorded denial; None if its host cannot be read.

    Args:
        group: path of the client's group.
        host: as recorded: a name, or an address without brackets.
        port: TCP port; None means that of HTTPS.
        method: as recorded; of a CONNECT nothing but the target is asked about.
        path: raw path without query.
        scheme: `http` where the request was in the clear, `tcp` where something else than TLS or HTTP was spoken.

    Example:
        >>> question_about("dev", "a.example", None, method="CONNECT", path=None, scheme=None).port
        443
    """
    try:
        named = canonical_host(f"[{host}]" if host and ":" in host else host or "")
    except MalformedHostError:
        return None
    seen = None if method == "CONNECT" else method
    clear, bare = scheme == "http", scheme == BARE and seen is None
    return Question(group, named, port or 443, seen, (path or "/") if seen else None, clear=clear, bare=bare)


def suggestion(
    policy: Policy, question: Question, reason: Reason, *, private: bool = False, found: Decision | None = None
) -> str | None:
    """Return the entry of the group's `allow` list that would allow a blocked request; None if none would.

    Args:
        policy: in force.
        question: what was asked.
        reason: why it was blocked.
        private: leave the request's own path out, and so suggest nothing where only the path is missing.
        found: what the policy decides, enforced, if that is known.

    Returns:
        A YAML list item, with a comment where it takes another one's place.

    Example:
        >>> asked = question_of("https://api.a.example/v1/items", "dev", "POST")
        >>> suggestion(policy(rule("api.a.example", methods={"GET"})), asked, Reason.METHOD_NOT_ALLOWED)
        '- {host: "api.a.example", ports: [443], methods: [POST], paths: ["/v1/items"]}'
    """
    entry = entry_for(policy, question, reason, private=private, opening=not private, found=found)
    return None if entry is None else entry.line


def entry_for(
    policy: Policy,
    question: Question,
    reason: Reason,
    *,
    private: bool = False,
    opening: bool = False,
    found: Decision | None = None,
) -> "Entry | None":
    """Return what `suggestion` writes, as a rule.

    With `opening` it may open an address that is not public, where the question names that very address.

    Example:
        >>> asked = question_of("https://a.example:8443", "dev")
        >>> sorted(entry_for(policy(rule("a.example")), asked, Reason.PORT_NOT_ALLOWED).rule.ports)
        [8443]
    """
    group = policy.groups.get(question.group) if question.group is not None else None
    if group is None or reason not in _CURED:
        return None
    near = replace(group, mode=Mode.ENFORCE, allow=Rules(group.allow.for_host(question.host)), granted=Rules())
    # Whose clients they are decides nothing here, and to index them takes the longer the more there are.
    found = found or decide(replace(policy, groups={group.path: near}, clients=()), question)
    if reason is Reason.NOT_TLS and found.reason in MISSES:
        entry = _missing(replace(question, bare=question.method is None), found, private=private)
    elif reason is Reason.NOT_TLS:
        entry = _plain(near, question, found)
    elif reason is Reason.ADDRESS_NOT_PUBLIC:
        entry = _same(question, found)
    else:
        entry = _missing(question, found, private=private)
    if entry is not None and opening:
        entry = replace(entry, rule=_opened(policy, question, entry.rule))
    return entry if entry is not None and _opens(policy, near, question, entry) else None


@dataclass(frozen=True, slots=True)
class Entry:
    """A rule to add.

    Attributes:
        comment: how to add it, as a comment in YAML.
        instead: the rule whose place it takes.
    """

    rule: Rule
    comment: str = ""
    instead: Rule | None = None

    @property
    def line(self) -> str:
        """The entry as an item of a YAML list.

        Example:
            >>> Entry(rule("a.example")).line
            '- a.example'
        """
        return f"- {written(self.rule)}{self.comment}"


def _missing(question: Question, found: Decision, *, private: bool) -> Entry | None:
    """Return the rule that adds what a question misses."""
    if found.reason not in MISSES or (question.method is not None and not _METHOD.fullmatch(question.method)):
        return None
    port, near = question.port, found.rule
    # Without it the line would not be enough: the tunnel would be opened, and refused once something is said in it.
    bare = (question.bare or port in _NEVER_TLS) and question.method is None and found.vendor is None
    if near is None or bare or found.reason is Reason.NO_RULE:
        ports = DEFAULT_PORTS if port in DEFAULT_PORTS else frozenset({port})
        return Entry(Rule(exactly(question.host), _NEW, ports, tls=not bare))
    if found.reason is Reason.PORT_NOT_ALLOWED and any(is_loopback(each.network_address) for each in near.addresses):
        return None  # ports of the proxy's own machine are opened one by one, by whoever knows what listens there
    methods, paths = near.methods, near.paths
    by_request = found.reason in (Reason.METHOD_NOT_ALLOWED, Reason.PATH_NOT_ALLOWED)
    if question.method is not None:
        if by_request or methods is not None:
            methods = frozenset({question.method})
        if (by_request or paths is not None) and not private:
            paths = one_path(question.path)
            if paths is None:
                return None
    elif by_request:
        return None  # nothing is seen of what it needs to see
    rule = Rule(
        exactly(question.host), _NEW, frozenset({port}), methods, paths, near.tls and (near.needs_sight or not bare)
    )
    return Entry(replace(rule, addresses=near.addresses, until=near.until))


def _same(question: Question, found: Decision) -> Entry | None:
    """Return the rule that allows a question already, for its host and port alone."""
    near = found.rule
    if near is None or not found.allowed:
        return None
    return Entry(replace(near, pattern=exactly(question.host), ports=frozenset({question.port}), inject=None))


def _opened(policy: Policy, question: Question, rule: Rule) -> Rule:
    """Return a rule that opens the address which its host is, where that is neither public nor the client's own."""
    address = question.host.address
    if address is None or is_loopback(address) or shut(policy, question.host) is None:
        return rule
    return replace(rule, ports=frozenset({question.port}), addresses=(single(address),))


def _plain(group: Group, question: Question, found: Decision) -> Entry | None:
    """Return the rule that lets something else than TLS pass, and how it comes before the one that is there."""
    near = found.rule
    unread = found.vendor is None or question.clear  # at a vendor's host `tls: false` lets nothing else pass
    if near is None or near.needs_sight or not unread or found.reason not in (Reason.RULE, Reason.NOT_TLS):
        return None
    rule = replace(near, pattern=exactly(question.host), ports=frozenset({question.port}), tls=False)
    if near not in group.allow.all or near.pattern != rule.pattern:
        return Entry(rule)
    if near.ports == rule.ports:
        return Entry(rule, f"  # instead of line {near.place.line}", near)
    return Entry(rule, f"  # above line {near.place.line}")


def _opens(policy: Policy, group: Group, question: Question, entry: Entry) -> bool:
    """Tell whether the policy with an entry allows the question."""
    kept = [rule for rule in group.allow.all if rule is not entry.instead]
    rules = Rules([entry.rule, *kept] if entry.comment else [*kept, entry.rule])
    with_it = replace(policy, groups={group.path: replace(group, allow=rules)}, clients=())
    after = decide(with_it, question)
    return (
        after.allowed
        and shut(with_it, question.host, after) is None
        and (entry.rule.tls or (after.rule is not None and not after.rule.tls))
    )


def shut(policy: Policy, host: Host, decision: Decision = Decision()) -> str | None:  # noqa: B008 - immutable
    """Return what a host's address is, if that is known without asking and never dialled; None for all others.

    Example:
        >>> shut(policy(), Host("localhost")), shut(policy(), Host("a.example"))
        ('loopback', None)
    """
    internal = (*policy.internal, *opened(policy, decision))
    known = _LOOPBACKS if is_loopback_name(host.name) else (host.address,)
    judged = [judge_address(each, 0, internal, Own()) for each in known if each is not None]
    return judged[0].what if judged and judged[0] is not None and all(judged) else None


def _address(text: str) -> Address | None:
    """Read an address; None for a name, which having `ip_address` refuse is slow."""
    if ":" not in text and not text[-1:].isdigit():
        return None
    try:
        return ip_address(text)
    except ValueError:
        return None
