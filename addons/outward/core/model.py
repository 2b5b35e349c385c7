"""The words of the policy: rules, groups, questions and decisions. Values only; no behaviour beyond look-up."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from outward.core.addresses import Network
from outward.core.hostlist import HostList
from outward.core.names import Host
from outward.core.paths import PathGlob
from outward.core.reasons import Reason
from outward.core.secrets import Injection

DEFAULT_PORTS = frozenset({80, 443})  # of `http` and `https` (RFC 9110 4.2)


class Verdict(IntEnum):
    """The answer. DENY is zero, falsy and the default of everything."""

    DENY = 0
    ALLOW = 1


class Stage(StrEnum):
    """Where the question was asked."""

    CONNECT = "connect"
    TLS = "tls"
    REQUEST = "request"
    ADDRESS = "address"
    SEARCH = "search"
    RESPONSE = "response"


class Lane(StrEnum):
    """How an allowed connection is carried."""

    TUNNEL = "tunnel"
    INSPECT = "inspect"


class LaneChoice(StrEnum):
    """What a group says about lanes."""

    AUTO = "auto"
    INSPECT = "inspect"
    TUNNEL = "tunnel"


class Mode(StrEnum):
    """Whether a group's denials by rule are enforced or only reported."""

    ENFORCE = "enforce"
    REPORT = "report"


class DenyDelivery(StrEnum):
    """How a blocked CONNECT is answered: at once, or inside TLS so that the agent can read the reason.

    Automatically is inside, unless the client names itself as one that ends at a refused CONNECT.
    """

    CONNECT = "connect"
    INSIDE = "inside"
    AUTO = "auto"


class Ech(StrEnum):
    """What becomes of a ClientHello with an Encrypted ClientHello extension."""

    PASS = "pass"  # noqa: S105 - not a password
    REFUSE = "refuse"


class Grants(StrEnum):
    """Whether requests that are approved open anything at run time."""

    ALLOWED = "allowed"
    NONE = "none"


class PatternKind(IntEnum):
    """What a pattern matches: a name, all below one, every public host, addresses, a name and all below, a list."""

    EXACT = 0
    BELOW = 1
    ANY = 2
    NETWORK = 3
    SUFFIX = 4
    LIST = 5


@dataclass(frozen=True, slots=True)
class Place:
    """Where a rule or setting was written. Line and column count from 1; line 0 is for what no file holds."""

    file: str
    line: int
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Pattern:
    """A host pattern.

    Attributes:
        value: the canonical name, the base below which it matches, or a network's text.
        names: the names of a list; what matched a host of it is a rule of its own, see `Rules.for_host`.
    """

    kind: PatternKind
    value: str = ""
    network: Network | None = None
    names: HostList | None = None

    def __str__(self) -> str:
        if self.names is not None:
            return f"{self.names.file} ({self.names.length:,} names)"
        shown = {PatternKind.BELOW: f"*.{self.value}", PatternKind.SUFFIX: f".{self.value}", PatternKind.ANY: "*"}
        return shown.get(self.kind, self.value)


@dataclass(frozen=True, slots=True)
class Rule:
    """One allow or deny entry.

    Attributes:
        pattern: which hosts.
        place: file and line, for every decision that the rule makes.
        ports: TCP ports; None means every port (the default of a deny rule).
        methods: HTTP methods, upper case; None means every method.
        paths: globs over every reading of the path; None means every path.
        tls: False if the tunnel may carry something else than TLS.
        encoded_slash: an encoded slash is a part of its segment; otherwise it might separate segments too.
        addresses: networks that an allowed host may resolve to although they are not public.
        until: UTC day, `YYYY-MM-DD`, from which on an allow rule allows nothing; None means for good.
        owner, note: who answers for the rule, and why it is there.
        inject: what the proxy sets on the requests that the rule allows; None sets nothing.
    """

    pattern: Pattern
    place: Place
    ports: frozenset[int] | None = DEFAULT_PORTS
    methods: frozenset[str] | None = None
    paths: tuple[PathGlob, ...] | None = None
    tls: bool = True
    encoded_slash: bool = False
    addresses: tuple[Network, ...] = ()
    until: str | None = None
    owner: str | None = None
    note: str | None = None
    inject: Injection | None = None

    @property
    def needs_sight(self) -> bool:
        """Whether the rule can only be judged on a decrypted request.

        Example:
            >>> rule("a.example").needs_sight, rule("a.example", methods={"GET"}).needs_sight
            (False, True)
        """
        return self.methods is not None or self.paths is not None or self.inject is not None


class OptIn(StrEnum):
    """Whether a conversation must opt in to web search."""

    REQUIRED = "required"
    ASSUMED = "assumed"


class Filter(StrEnum):
    """How allowed hosts become a vendor's domain filter."""

    COVERING = "covering"
    STRICT = "strict"


class Unfilterable(StrEnum):
    """What becomes of a search tool without a domain filter."""

    BLOCK = "block"
    VERIFY = "verify"


class OnViolation(StrEnum):
    """What becomes of a stream with a source outside the allowlist."""

    FLAG = "flag"
    CUT = "cut"


class RecordDetail(StrEnum):
    """What receipts and audit keep of queries and URLs."""

    FULL = "full"
    COUNTS = "counts"


@dataclass(frozen=True, slots=True)
class WebSearch:
    """A group's effective web-search settings, each inherited by itself.

    Attributes:
        sources: patterns that replace the allowlist for search; None inherits the allowlist.
        max_searches: per request; None sets no limit.
        per_day: limits of a UTC day, the group that sets each and the searches that it and all below it may make; they
            all hold.
        decided_by: path of the group whose `enabled` is in force; None if nobody set it.
        locked_by: path of the ancestor (or the group) whose lock is in force; None if none is.
    """

    enabled: bool = False
    opt_in: OptIn = OptIn.REQUIRED
    sources: tuple[Rule, ...] | None = None
    filter: Filter = Filter.COVERING
    max_searches: int | None = 5
    per_day: tuple[tuple[str, int], ...] = ()
    unfilterable: Unfilterable = Unfilterable.BLOCK
    on_violation: OnViolation = OnViolation.FLAG
    record: RecordDetail = RecordDetail.FULL
    decided_by: str | None = None
    locked_by: str | None = None


class Credential(StrEnum):
    """What a `clients` entry identifies by."""

    TOKEN = "token"  # noqa: S105 - not a password
    JWT = "jwt"
    CERTIFICATE = "certificate"
    SOURCE = "source"
    ANYONE = "anyone"


@dataclass(frozen=True, slots=True)
class ClientEntry:
    """One entry of `clients`: an identity and the group that it belongs to.

    Attributes:
        kind: what it identifies by.
        group: path of the group; None only for a JWT whose claim names it.
        token_sha256: lower-case hex digest of the token.
        source: network that the client connects from.
        issuer, audience, jwks: verification of a JWT (RFC 7519); `jwks` is a path or URL.
        group_claim: keys that lead to the claim that names its group, one for each level.
        group_map: groups by the claim's value; empty if the claim is the group itself.
        template: path of the group, with `{claim}` for one of its segments; None for none.
        record_claims: paths of the claims that events hold.
        certificate: SPIFFE URI or DNS name of a client certificate; a SPIFFE URI may end in `/*`, for one segment.
        opt_in: overrides the group's opt-in for flows that have no person to ask.
        name: what the operator calls it; None for none.
    """

    kind: Credential
    place: Place
    group: str | None = None
    token_sha256: str | None = None
    source: Network | None = None
    issuer: str | None = None
    audience: str | None = None
    jwks: str | None = None
    group_claim: tuple[str, ...] | None = None
    group_map: Mapping[str, str] = field(default_factory=dict)
    template: str | None = None
    record_claims: tuple[tuple[str, ...], ...] = ()
    certificate: str | None = None
    opt_in: OptIn | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be decided.

    Attributes:
        group: path of the client's group; None for an unknown client.
        host, port: the destination.
        method: HTTP method; None if no request is visible yet (CONNECT).
        path: raw path without query; None if no request is visible yet.
        clear: a request that is to be forwarded without TLS.
        bare: a tunnel in which something else is spoken than TLS or HTTP.
    """

    group: str | None
    host: Host
    port: int
    method: str | None = None
    path: str | None = None
    clear: bool = False
    bare: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to one question, with its why. An empty decision denies.

    Attributes:
        would_deny: in report mode, that enforcing would have denied.
        would_reason: the reason that enforcing would have given; None if nothing was softened.
        question: what was asked; None if nothing was.
        vendor: name of the governed model vendor or search API that the host belongs to.
        needs_inspection: whether anything on the group's chain, or governance, judges more of a request than its host.
        denial: how a blocked CONNECT of this group is answered.
        ech: what this group does with ECH.
        inject: what is set on the request, each in a field of its own.
    """

    verdict: Verdict = Verdict.DENY
    reason: Reason = Reason.INTERNAL_ERROR
    rule: Rule | None = None
    group: str | None = None
    lane: Lane | None = None
    mode: Mode = Mode.ENFORCE
    would_deny: bool = False
    would_reason: Reason | None = None
    question: Question | None = None
    vendor: str | None = None
    needs_inspection: bool = True
    denial: DenyDelivery = DenyDelivery.CONNECT
    ech: Ech = Ech.PASS
    inject: tuple[Injection, ...] = ()
    generation: str = ""

    @property
    def allowed(self) -> bool:
        """Whether the traffic may pass.

        Example:
            >>> Decision().allowed  # what nobody decided is denied
            False
        """
        return self.verdict is Verdict.ALLOW

    @property
    def granted(self) -> bool:
        """Whether a grant allowed it, which ends; no file holds its rule."""
        return self.reason is Reason.RULE and self.rule is not None and not self.rule.place.line

    @property
    def plain(self) -> bool:
        """Whether the rule that allowed it says that something else than TLS may pass; a softened denial never does."""
        return self.reason is Reason.RULE and self.rule is not None and not self.rule.tls
