"""The compiled policy: groups in a tree, clients, and what holds for all. Values and look-up; `decide` judges by it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from outward.core.addresses import Network
from outward.core.limits import GroupLimits
from outward.core.model import ClientEntry, DenyDelivery, Ech, Grants, LaneChoice, Mode, Rule, WebSearch
from outward.core.names import Host
from outward.core.rules import Rules
from outward.core.secrets import Injection


@dataclass(frozen=True, slots=True)
class Group:
    """A compiled group.

    Attributes:
        chain: this group and its ancestors, the nearest first.
        allow, deny: the group's own rules.
        ceiling: the widest that any descendant may allow; None sets no ceiling.
        ignore: hosts whose denials are noise: counted, not listed.
        limits: how much the group and all below it may ask for; those of ancestors hold beside them.
        grants: whether approved requests open anything here; None, which nobody says, opens nothing.
        granted: the grants in force; see `grants`.
        settings below: effective, inherited values; `denial` is None if nobody says.

    Example:
        >>> group = Group("acme/dev", parent=Group("acme", allow=Rules([rule("a.example")])))
        >>> [(node.path, str(each.pattern)) for node, each in group.offers(Host("a.example"))]
        [('acme', 'a.example')]
        >>> [node.path for node in group.chain], group.ignores(Host("a.example"))
        (['acme/dev', 'acme'], False)
    """

    path: str
    allow: Rules = field(default_factory=Rules)
    deny: Rules = field(default_factory=Rules)
    ceiling: Rules | None = None
    ignore: tuple[Rule, ...] = ()
    parent: "Group | None" = None
    mode: Mode = Mode.ENFORCE
    lane: LaneChoice = LaneChoice.AUTO
    denial: DenyDelivery | None = None
    ech: Ech = Ech.PASS
    web_search: WebSearch = field(default_factory=WebSearch)
    limits: GroupLimits | None = None
    grants: Grants | None = None
    granted: Rules = field(default_factory=Rules)

    def offers(self, host: Host) -> "Iterator[tuple[Group, Rule]]":
        """Yield the allow rules for a host that count here, with the group that each is of: what is granted last.

        What is granted to a group is its own clients' alone, and not those' below it.
        """
        for node in self.chain:
            for rule in node.allow.for_host(host):
                yield node, rule
        for rule in self.granted.for_host(host):
            yield self, rule

    def ignores(self, host: Host) -> bool:
        """Tell whether denials of a host are noise to this group, or to one above it."""
        return any(True for node in self.chain for _ in Rules(node.ignore).for_host(host))

    @property
    def chain(self) -> "Iterator[Group]":
        """Yield this group and its ancestors, the nearest first."""
        group: Group | None = self
        while group is not None:
            yield group
            group = group.parent


def layers(groups: Iterable[Group]) -> Iterator[Group]:
    """Yield groups, each with those that lie below it at the same path, since another file writes that too.

    Example:
        >>> two_files = Group("acme/dev", parent=Group("acme/dev", parent=Group("acme")))
        >>> [each.path for each in layers([two_files])]
        ['acme/dev', 'acme/dev']
    """
    for group in groups:
        for node in group.chain:
            if node.path != group.path:
                break
            yield node


def within(path: str, scope: str | None) -> bool:
    """Tell whether a group's path lies in the subtree of another; None is the whole tree.

    Example:
        >>> within("acme/dev", "acme"), within("acme2", "acme")
        (True, False)
    """
    return scope is None or path == scope or path.startswith(f"{scope}/")


def _ungoverned(_host: str) -> str | None:
    return None


def _kept(_path: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Policy:
    """The compiled, immutable whole of one configuration generation.

    Attributes:
        generation: names the content that this policy was compiled from.
        groups: by path.
        clients: in the order of the file.
        internal: networks that allowed names may resolve to although they are not public.
        vendor_of: name of the governed vendor that a host name belongs to, or None.
        tokens: the entries of tokens, by the hex digest of the token.
        secrets: names of the secrets that there are.
        bound: what is set for a host, by name, whichever rule allows it.
        given_away: whether a group's path lies where confined files write: such a group may come and go.
        today: UTC day, `YYYY-MM-DD`; where it is not known, every rule with an end has ended.
    """

    generation: str = ""
    groups: Mapping[str, Group] = field(default_factory=dict)
    clients: tuple[ClientEntry, ...] = ()
    internal: tuple[Network, ...] = ()
    vendor_of: Callable[[str], str | None] = _ungoverned
    secrets: frozenset[str] = frozenset()
    bound: Mapping[str, tuple[Injection, ...]] = field(default_factory=dict)
    given_away: Callable[[str], bool] = _kept
    today: str = ""
    tokens: Mapping[str, ClientEntry] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index the clients' tokens by digest; the first entry of a token counts."""
        found = {entry.token_sha256: entry for entry in reversed(self.clients) if entry.token_sha256 is not None}
        object.__setattr__(self, "tokens", found)

    def expired(self, rule: Rule) -> bool:
        """Tell whether the day of a rule's end has come.

        Example:
            >>> Policy(today="2026-05-01").expired(rule("a.example", until="2026-05-01"))
            True
        """
        return rule.until is not None and (not self.today or rule.until <= self.today)
