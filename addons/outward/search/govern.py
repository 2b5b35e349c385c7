"""The one entry: from a request to a governed host, and what its client may do, to what becomes of it.

Pure: bytes and values in, an outcome out. Exceptions that are not foreseen here are the caller's to turn into a denial.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from outward.core.model import OptIn, WebSearch
from outward.core.policy import Group, Policy
from outward.core.reasons import Reason
from outward.search.adapter import Adapter
from outward.search.inflate import EncodingError, decompress
from outward.search.jsonbody import JsonBodyError, TooManyValuesError, decode, encode
from outward.search.learned import Recent
from outward.search.machines import Machine, Machines
from outward.search.observation import Observation
from outward.search.opening import endpoint_line, opening
from outward.search.registry import Registry, by_default, plain_path
from outward.search.request import GovernedRequest, VendorCall
from outward.search.scope import Scopes, suffixes
from outward.search.surface import DENIALS, Endpoint, EndpointKind, Surface
from outward.search.tools import Action, SearchTool, UngovernableError, Unknown
from outward.search.vendors import load
from outward.search.walk import query, walk

_UNAUDITED = "the proxy cannot keep audit events, and nothing is searched without them"
_CHARSET = re.compile(r"charset\*?\s*=\s*\"?([^\s\";,]*)", re.IGNORECASE)
_UTF_8 = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A request to a governed host, and on whose behalf it comes.

    Attributes:
        vendor: as the registry named the host.
        path: raw path, without query.
        headers: values by lower-case name.
        body: as received, content encoding and all; empty if it was not asked for.
        bodied: whether there is one, asked for or not.
        settings: the group's search settings in force (run-time values included).
        opted_in: whether the conversation, or its client entry, has opted in.
        left: searches that the group's day leaves to it; None if no day is limited.
    """

    vendor: str
    host: str
    method: str
    path: str
    policy: Policy
    group: Group
    settings: WebSearch
    opted_in: bool
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    bodied: bool = False
    left: int | None = None


@dataclass(frozen=True, slots=True)
class Governed:
    """What becomes of a request.

    Attributes:
        adapter: the vendor's name in metrics and audit; None if no vendor is concerned.
        findings: every search capability, and what became of it.
        body: the body to send instead of the client's; None sends the client's own bytes.
        headers: changes to the request's header; None removes.
        deny: the reason of a denial, or None.
        detail: a sentence for the client of a denied request.
        line: of a policy, that would let it through; None if none would.
        unknowns: what no table names, and passes to be watched.
        turn: for the response's observation.
        unmet: a machine at the vendor because of which it is denied: another proxy may know it.
    """

    adapter: str | None = None
    findings: tuple[SearchTool, ...] = ()
    body: bytes | None = None
    headers: Mapping[str, str | None] = field(default_factory=dict)
    deny: Reason | None = None
    detail: str = ""
    line: str | None = None
    unknowns: tuple[Unknown, ...] = ()
    turn: GovernedRequest | None = None
    unmet: Machine | None = None

    @property
    def audited(self) -> bool:
        """Whether the request could search, rather than count tokens."""
        return self.turn is None or self.turn.audited

    @property
    def watched(self) -> bool:
        """Whether the response is to be read for searches."""
        return self.turn is not None and self.turn.audited and (self.turn.searching or self.turn.watch)

    @property
    def read(self) -> bool:
        """Whether the response is to be read: for searches, to be filtered, or for the machine that it was made on."""
        return self.watched or (
            self.turn is not None and (self.turn.filtered or bool(self.turn.sandboxes) or self.turn.holds)
        )


class Governance:
    """Judges requests to governed hosts; keeps compiled scopes, and what vendors taught within them.

    Args:
        registry: the governed hosts.
        body_limit: most bytes of a body after its content encoding is undone.

    Attributes:
        machines: at vendors, that groups made; whoever reads answers adds them.
    """

    def __init__(self, registry: Registry, body_limit: int) -> None:
        self.registry = registry
        self._limit = body_limit
        self.machines = Machines()
        self._scopes = Scopes()
        self._counted = Recent()

    def needs_body(self, vendor: str, host: str, method: str, path: str) -> bool:
        """Tell whether a request must be read as a whole; what passes or fails by its endpoint alone streams unread."""
        plain = plain_path(path)
        placed = None if plain is None else self.registry.place(vendor, plain)
        if placed is None:
            return False
        endpoint = self.registry.endpoint(placed[0], host, method, placed[1])
        return endpoint is not None and endpoint.kind is EndpointKind.GOVERNED

    def adapter_at(self, vendor: str, path: str) -> str:
        """Return the name of the adapter whose words are spoken at a path."""
        placed = self.registry.place(vendor, plain_path(path) or "/")
        return "gitlab" if placed is None else placed[0].adapter

    def judge(self, request: SearchRequest) -> Governed:
        """Judge one request."""
        path = plain_path(request.path)
        if path is None:
            return Governed(deny=Reason.MALFORMED_REQUEST, detail="a path that servers read in different ways")
        placed = self.registry.place(request.vendor, path)
        return Governed() if placed is None else self._judge(request, *placed)

    def _judge(self, request: SearchRequest, surface: Surface, path: str) -> Governed:
        bodied = request.bodied or bool(request.body)
        endpoint = self.registry.endpoint(surface, request.host, request.method, path)
        if endpoint is None:
            endpoint = by_default(surface, request.method, request.query, bodied=bodied)
        adapter = load(surface.adapter)
        call = VendorCall(adapter.name, request.host, request.method, path, request.query, request.headers)
        why = "WebSocket messages to a vendor are not read" if "upgrade" in call.headers else adapter.disguised(call)
        if why is not None:
            return _denied(adapter, UngovernableError(Reason.WEB_SEARCH_UNINSPECTABLE, why, "request"))
        if endpoint is None:
            return self._unlisted(adapter, surface, call)
        if endpoint.kind is EndpointKind.DENIED:
            return _denied(adapter, UngovernableError(*DENIALS[endpoint.why], "endpoint"))
        return (
            Governed(adapter.name) if endpoint.kind is EndpointKind.USUAL else self._governed(request, call, endpoint)
        )

    def _unlisted(self, adapter: Adapter, surface: Surface, call: VendorCall) -> Governed:
        """Deny what no table names, unless the policy only watches it."""
        reason, line = Reason.WEB_SEARCH_UNKNOWN_ENDPOINT, endpoint_line(call.method, call.path)
        if self.registry.valve(call.host).report:
            return Governed(adapter.name, unknowns=(Unknown(reason, line),))
        detail = f"an endpoint that no table names: {line}"
        return _denied(
            adapter, UngovernableError(reason, detail, "endpoint", opening(call.host, surface.name, reason, line))
        )

    def _governed(self, request: SearchRequest, call: VendorCall, endpoint: Endpoint) -> Governed:
        surface = self.registry.surface(endpoint.surface)
        adapter = load(surface.adapter)
        encoding = request.headers.get("content-encoding", "")
        try:
            _check_charset(request.headers.get("content-type", ""))
            body = decompress(request.body, encoding, self._limit)
            call = replace(call, adapter=adapter.name, path=endpoint.path, schema=endpoint.schema, body=body)
            turn = self._turn(request, call, surface)
            adapter.govern(turn)
            walk(turn, turn.json)
            query(turn)
            _check_signed(turn)
        except EncodingError as error:
            return _denied(adapter, UngovernableError(Reason.WEB_SEARCH_UNINSPECTABLE, str(error), "body"))
        except TooManyValuesError as error:
            return _denied(adapter, UngovernableError(Reason.TOO_LARGE, str(error), "body"))
        except JsonBodyError as error:
            return _denied(adapter, UngovernableError(Reason.MALFORMED_REQUEST, str(error), ""))
        except UngovernableError as error:
            return _denied(adapter, error)
        return self._passed(adapter, turn, encoded=encoding.strip().lower() not in ("", "identity"))

    def _turn(self, request: SearchRequest, call: VendorCall, surface: Surface) -> GovernedRequest:
        settings = request.settings
        stop = None if settings.enabled else Reason.WEB_SEARCH_DISABLED
        if stop is None and settings.opt_in is OptIn.REQUIRED and not request.opted_in:
            stop = Reason.WEB_SEARCH_NOT_OPTED_IN
        return GovernedRequest(
            call,
            self._scopes.of(request.policy, request.group, settings),
            settings,
            surface,
            self.registry.valve(request.host),
            stop,
            trusted=self.registry.trusts(request.host),
            mcp_tools=self.registry.mcp_tools(request.host),
            left=request.left,
            owner=request.group.path,
            machines=self.machines,
        )

    def _passed(self, adapter: Adapter, turn: GovernedRequest, *, encoded: bool) -> Governed:
        findings = tuple(turn.findings)
        changed = (findings or turn.touched) and turn.json is not None and not turn.call.signed
        headers = dict(turn.headers)
        if changed and encoded:
            headers["content-encoding"] = None
        body = encode(turn.json) if changed else None
        return Governed(adapter.name, findings, body, headers, unknowns=tuple(turn.unknowns), turn=turn)

    def observe(self, outcome: Governed, status: int, headers: Mapping[str, str]) -> Observation | None:
        """Return a reader for the response, or None if there is nothing to read.

        Args:
            outcome: of the request.
            status: of the response.
            headers: of the response, values by lower-case name.
        """
        if outcome.turn is None or not outcome.read or not 200 <= status < 300:
            return None
        adapter = load(outcome.turn.call.adapter)
        return Observation(adapter, outcome.turn, headers, self._counted if outcome.turn.watch else ())

    def counted(self, observation: Observation) -> None:
        """Remember the searches of a response, so that polling for it does not count them again.

        If the vendor found a list too long, later requests with that list get half of it. This request cannot be tried
        again: its error came inside a response that the client has already.
        """
        self._counted.update(observation.seen.ids)
        if observation.seen.too_large:
            turn = observation.turn
            longest = max(turn.findings, key=lambda finding: len(finding.effective or ()), default=None)
            if longest is not None:
                turn.learned.too_long(longest.requested, len(longest.effective or ()))

    def learn(self, outcome: Governed, status: int, body: bytes) -> bool:
        """Learn from a vendor's refusal; returns whether the request should be judged anew and tried once more."""
        if outcome.turn is None or not outcome.turn.searching:
            return False
        adapter = load(outcome.turn.call.adapter)
        names = adapter.refused_domains(status, body)
        known = outcome.turn.learned.refused
        fresh = [host for host in _named(outcome.turn.effective or (), names) if host not in known]
        known.update(fresh)
        return bool(fresh)


def unaudited(outcome: Governed) -> Governed:
    """Return the denial of a search that could not be audited: no audit, no search. It leaves no audit event itself."""
    findings = tuple(SearchTool(each.tool, Action.DENIED) for each in outcome.findings)
    return Governed(outcome.adapter, findings, deny=Reason.OVERLOADED, detail=_UNAUDITED)


def refused(outcome: Governed, reason: Reason, detail: str) -> Governed:
    """Return the denial of a request whose searches may not be made now: without them its answer would be another."""
    live = [each for each in outcome.findings if each.action not in (Action.STRIPPED, Action.DENIED)]
    findings = tuple(SearchTool(each.tool, Action.DENIED, reason, requested=each.requested) for each in live)
    return Governed(outcome.adapter, findings, deny=reason, detail=detail)


def _named(sent: Iterable[str], names: Iterable[str]) -> list[str]:
    """Return the hosts of the sent entries that a vendor names: themselves, or a name above or below (`www.`)."""
    refused = {name.strip(".").lower() for name in names}
    above = {suffix for name in refused for suffix in suffixes(name)}
    hosts = dict.fromkeys(entry.partition("/")[0] for entry in sent)
    return [host for host in hosts if host in above or any(suffix in refused for suffix in suffixes(host))]


def _denied(adapter: Adapter, error: UngovernableError) -> Governed:
    findings = (SearchTool(error.tool, Action.DENIED, error.reason),) if error.tool else ()
    return Governed(
        adapter.name, findings, deny=error.reason, detail=error.detail, line=error.line, unmet=error.machine
    )


def _check_charset(content_type: str) -> None:
    """Refuse other character sets: a lenient server would read other keys out of the same bytes (UTF-7, UTF-16).

    Raises:
        EncodingError: on any but UTF-8.
    """
    if any(name.lower() not in _UTF_8 for name in _CHARSET.findall(content_type)):
        raise EncodingError("a body in another character set than UTF-8")


def _check_signed(turn: GovernedRequest) -> None:
    """Refuse a signed request that does not comply as it is: rewriting would break its signature."""
    if not turn.call.signed or not (turn.findings or turn.touched):
        return
    turn.must_survive("the body is signed and carries a search that is not permitted")
    if turn.headers or (turn.json is not None and turn.json != decode(turn.call.body)):
        turn.refuse(Reason.WEB_SEARCH_UNFILTERABLE, "the body is signed, so its filter cannot be narrowed", "signed")
