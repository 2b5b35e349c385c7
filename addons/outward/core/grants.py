"""Grants: one exact host that a person opened to one group for a while, at run time. Pure.

A grant is a rule of its group that no file holds. It lies below every deny rule and inside every ceiling, as all rules
do, and ends by itself: whoever holds the policy puts it in force anew, without the grant, when its time has come.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from outward.core.decide import decide
from outward.core.entries import exactly, one_path
from outward.core.explain import deciding
from outward.core.model import Grants, Place, Question, Rule
from outward.core.names import MalformedHostError, canonical_host
from outward.core.policy import Policy
from outward.core.reasons import MEANINGS, Reason
from outward.core.rules import Rules
from outward.core.suggest import MISSES, cure, suggestion
from outward.core.urls import question_of

USUAL, LONGEST = 8 * 3600, 30 * 86_400  # seconds: a working day; a month, and what lasts longer belongs in the policy
_PLACE = "grant "  # what a grant's rule has instead of a file
_SLACK = 300_000  # milliseconds that two machines' clocks may be apart, as Kerberos has it (RFC 4120 8.2)
_BY_REQUEST = (Reason.METHOD_NOT_ALLOWED, Reason.PATH_NOT_ALLOWED)


class AskError(ValueError):
    """What is asked for cannot be asked for; the message says why, and what helps."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asks to be allowed.

    Attributes:
        question: the connection alone, or with the method and the path that are missing.
        reason: why it is blocked now.
        line: the entry of the group's `allow` that would allow it for good.
    """

    question: Question
    reason: Reason
    line: str


@dataclass(frozen=True, slots=True)
class Grant:
    """What was granted.

    Attributes:
        group: path of the group, whose own clients it is for.
        host: canonical name.
        port: TCP port.
        method, path: the one method and path without query; None, both, for the whole host.
        made, until: Unix times in milliseconds.
        who: approved it.
        note: of who approved it.
    """

    id: str
    group: str
    host: str
    port: int
    method: str | None
    path: str | None
    made: int
    until: int
    who: str = ""
    note: str = ""


def wish(policy: Policy, group: str, url: str, method: str | None = None) -> Wish:
    """Return what a client of a group asks for that could not open a URL.

    Args:
        policy: in force.
        group: path of the client's group.
        url: as for `question_of`; its query is dropped.
        method: HTTP method; None means GET where requests are judged.

    Raises:
        AskError: it is allowed already, or is blocked for a reason that a request does not cure.

    Example:
        >>> wish(policy(), "dev", "https://a.example/x").line
        '- a.example'
    """
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise AskError("leave user name and password out of the URL")
    try:
        question = deciding(policy, question_of(url, group, method))
    except ValueError as error:
        raise AskError(str(error)) from error
    decision = decide(policy, question)
    if decision.allowed:
        raise AskError("this is allowed already")
    if decision.reason not in _BY_REQUEST:
        question = replace(question, method=None, path=None)
    if decision.reason not in MISSES or question.host.address is not None or decision.vendor is not None:
        blocked = f"{MEANINGS[decision.reason].title} ({decision.reason})"
        raise AskError(f"this cannot be asked for: {blocked}. {_why(question, decision.reason)}")
    line = suggestion(policy, question, decision.reason)
    if line is None:
        named = Reason.NO_RULE if decision.reason in _BY_REQUEST else decision.reason
        raise AskError(f"this cannot be asked for. {cure(named, question.host.name, line=False)}")
    return Wish(question, decision.reason, line)


def _why(question: Question, reason: Reason) -> str:
    if reason not in MISSES:
        return cure(reason, question.host.name)
    return "Addresses and the hosts of model vendors are opened in the policy alone."


def granting(policy: Policy, grants: Iterable[Grant], now: int) -> Policy:
    """Return a policy with the grants that hold at a Unix time in milliseconds, and with no others.

    Example:
        >>> grant = Grant("g1", "dev", "a.example", 443, None, None, made=0, until=60_000)
        >>> held = granting(policy(grants=Grants.ALLOWED), [grant], now=1)
        >>> decide(held, question_of("https://a.example", "dev")).granted
        True
    """
    rules: dict[str, list[Rule]] = {}
    for grant in grants:
        rule = _rule(policy, grant) if grant.made - _SLACK <= now < grant.until else None
        if rule is not None:
            rules.setdefault(grant.group, []).append(rule)
    changed = {path for path, group in policy.groups.items() if group.granted.all} | rules.keys()
    if not changed:
        return policy
    groups = dict(policy.groups)
    for path in changed:
        groups[path] = replace(groups[path], granted=Rules(rules.get(path, ())))
    return replace(policy, groups=groups)


def grant_of(place: Place) -> str | None:
    """Return the id of the grant that a rule's place names, or None if it is a file's.

    Example:
        >>> grant_of(Place("grant g1", 0)), grant_of(Place("outward.yaml", 7))
        ('g1', None)
    """
    return None if place.line or not place.file.startswith(_PLACE) else place.file.removeprefix(_PLACE)


def next_end(grants: Iterable[Grant], now: int) -> int | None:
    """Return the Unix time in milliseconds at which the next of these grants ends or begins; None if none does.

    Example:
        >>> next_end([Grant("g1", "dev", "a.example", 443, None, None, made=0, until=60_000)], now=1)
        60000
    """
    moments = (each for grant in grants for each in (grant.made - _SLACK, grant.until))
    return min((each for each in moments if each > now), default=None)


def takes_grants(policy: Policy, group: str) -> bool:
    """Tell whether approved requests open anything for a group.

    Example:
        >>> takes_grants(policy(grants=Grants.ALLOWED), "dev"), takes_grants(policy(), "dev")
        (True, False)
    """
    found = policy.groups.get(group)
    return found is not None and found.grants is Grants.ALLOWED


def _rule(policy: Policy, grant: Grant) -> Rule | None:
    """Return the rule of a grant; None for one that may not be: the rows of a database are held to this too."""
    try:
        host = canonical_host(grant.host)
    except MalformedHostError:
        return None
    paths = None if grant.path is None else one_path(grant.path)
    whole = grant.method is None and grant.path is None
    if (
        not takes_grants(policy, grant.group)
        or host.address is not None
        or policy.vendor_of(host.name) is not None
        or grant.until - grant.made > LONGEST * 1000
        or not (whole or (grant.method is not None and paths is not None))
    ):
        return None
    return Rule(
        exactly(host),
        Place(f"{_PLACE}{grant.id}", 0),
        frozenset({grant.port}),
        None if grant.method is None else frozenset({grant.method}),
        paths,
        owner=grant.who or None,
        note=grant.note or None,
    )
