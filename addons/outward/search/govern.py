"""The one entry: from a request to a governed host, and what its client may do, to what becomes of it.

Pure: bytes and values in, an outcome out. Exceptions that are not foreseen here are the caller's to turn into a denial.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from outward.core.model import OptIn, WebSearch
from outward.core.policy import Group, Policy
from outward.core.reasons import Reason
from outward.search.adapter import Adapter, Json, unknown_endpoint
from outward.search.inflate import EncodingError, decompress
from outward.search.jsonbody import BodyError, decode, encode
from outward.search.learned import Recent
from outward.search.observation import Observation
from outward.search.registry import Adapted, Registry, adapter_for, plain_path
from outward.search.scope import Scopes
from outward.search.turn import Action, Call, Finding, RefusedError, Turn
from outward.search.vendors import load

_CHARSET = re.compile(r"charset\*?\s*=\s*\"?([^\s\";,]*)", re.IGNORECASE)
_UTF_8 = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a governed host, and on whose behalf it comes.

    Attributes:
        vendor: as the registry named the host.
        path: raw path, without query.
        headers: values by lower-case name.
        body: as received, content encoding and all.
        settings: the group's search settings in force (run-time values included).
        opted_in: whether the conversation, or its client entry, has opted in.
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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a request.

    Attributes:
        adapter: the vendor's name in metrics and audit; None where no vendor is concerned.
        findings: every search capability, and what became of it.
        body: the body to send instead of the client's; None sends the client's own bytes.
        headers: changes to the request's header; None removes.
        deny: the reason of a denial, or None.
        detail: a sentence for the client of a denied request.
        error: members of the vendor's own error body, for clients that show only these.
        turn: for the response's observation.
    """

    adapter: str | None = None
    findings: tuple[Finding, ...] = ()
    body: bytes | None = None
    headers: Mapping[str, str | None] = field(default_factory=dict)
    deny: Reason | None = None
    detail: str = ""
    error: Json = field(default_factory=dict)
    turn: Turn | None = None

    @property
    def audited(self) -> bool:
        """Whether the request could search, rather than count tokens."""
        return self.turn is None or self.turn.audited

    @property
    def watched(self) -> bool:
        """Whether the response is to be read."""
        return self.turn is not None and self.turn.audited and (self.turn.searching or self.turn.watch)


class Governance:
    """Judges requests to governed hosts; keeps compiled scopes, and what vendors taught within them.

    Args:
        registry: the governed hosts.
        body_limit: most bytes of a body after its content encoding is undone.
    """

    def __init__(self, registry: Registry, body_limit: int) -> None:
        self.registry = registry
        self._limit = body_limit
        self._scopes = Scopes()
        self._counted = Recent()

    def concerns(self, vendor: str, path: str) -> bool:
        """Tell whether a request to a governed host belongs to a vendor at all."""
        plain = plain_path(path)
        return plain is None or adapter_for(vendor, plain) is not None

    def judge(self, request: Request) -> Outcome:
        """Judge one request."""
        path = plain_path(request.path)
        if path is None:
            return Outcome(deny=Reason.MALFORMED_REQUEST, detail="a path that servers read in different ways")
        adapted = adapter_for(request.vendor, path)
        return Outcome() if adapted is None else self._judge(request, adapted)

    def _judge(self, request: Request, adapted: Adapted) -> Outcome:
        adapter = load(adapted.adapter)
        encoding = request.headers.get("content-encoding", "")
        try:
            _check_charset(request.headers.get("content-type", ""))
            body = decompress(request.body, encoding, self._limit)
            call = Call(adapter.name, request.host, request.method, adapted.path, request.query, request.headers, body)
            turn = self._turn(request, call)
            _check_upgrade(turn)
            adapter.govern(turn)
            _check_unread(turn)
            _check_signed(turn)
        except EncodingError as error:
            return _denied(adapter, Reason.WEB_SEARCH_UNINSPECTABLE, str(error), "body")
        except BodyError as error:
            return _denied(adapter, Reason.MALFORMED_REQUEST, str(error), None)
        except RefusedError as error:
            return _denied(adapter, error.reason, error.detail, error.tool)
        return self._passed(adapter, turn, encoded=encoding.strip().lower() not in ("", "identity"))

    def _turn(self, request: Request, call: Call) -> Turn:
        settings = request.settings
        stop = None if settings.enabled else Reason.WEB_SEARCH_DISABLED
        if stop is None and settings.opt_in is OptIn.REQUIRED and not request.opted_in:
            stop = Reason.WEB_SEARCH_NOT_OPTED_IN
        return Turn(
            call,
            self._scopes.of(request.policy, request.group, settings),
            settings,
            stop,
            trusted=self.registry.trusts(request.host),
            mcp_tools=self.registry.mcp_tools(request.host),
        )

    def _passed(self, adapter: Adapter, turn: Turn, *, encoded: bool) -> Outcome:
        findings = tuple(turn.findings)
        changed = (findings or turn.touched) and turn.json is not None and not turn.call.signed
        headers = dict(turn.headers)
        if changed and encoded:
            headers["content-encoding"] = None
        body = encode(turn.json) if changed else None
        return Outcome(adapter.name, findings, body, headers, turn=turn)

    def observe(self, outcome: Outcome, status: int, headers: Mapping[str, str]) -> Observation | None:
        """Return a reader for the response, or None where there is nothing to read.

        Args:
            outcome: of the request.
            status: of the response.
            headers: of the response, values by lower-case name.
        """
        if outcome.turn is None or not (outcome.watched or outcome.turn.filtered) or not 200 <= status < 300:
            return None
        adapter = load(outcome.turn.call.adapter)
        return Observation(adapter, outcome.turn, headers, self._counted if outcome.turn.watch else ())

    def counted(self, observation: Observation) -> None:
        """Remember the searches of a response, so that polling for it does not count them again.

        Where the vendor found a list too long, later requests with that list get half of it: the error comes inside a
        response that has reached the client already, so that this request cannot be tried again.
        """
        self._counted.update(observation.seen.ids)
        if observation.seen.too_large:
            turn = observation.turn
            longest = max(turn.findings, key=lambda finding: len(finding.effective or ()), default=None)
            if longest is not None:
                turn.learned.too_long(longest.requested, len(longest.effective or ()))

    def learn(self, outcome: Outcome, status: int, body: bytes) -> bool:
        """Learn from a vendor's refusal; returns whether the request should be judged anew and tried once more."""
        if outcome.turn is None or not outcome.turn.searching:
            return False
        adapter = load(outcome.turn.call.adapter)
        names = adapter.refused_domains(status, body)
        sent = set(outcome.turn.effective or ())
        known = outcome.turn.learned.refused
        fresh = [name for name in names if name in sent and name not in known]
        known.update(fresh)
        return bool(fresh)


def _denied(adapter: Adapter, reason: Reason, detail: str, tool: str | None) -> Outcome:
    findings = () if tool is None else (Finding(tool, Action.DENIED, reason),)
    return Outcome(adapter.name, findings, deny=reason, detail=detail, error=adapter.error(f"{detail} ({reason})"))


def _check_charset(content_type: str) -> None:
    """Refuse other character sets: a lenient server would read other keys out of the same bytes (UTF-7, UTF-16).

    Raises:
        EncodingError: on any but UTF-8.
    """
    if any(name.lower() not in _UTF_8 for name in _CHARSET.findall(content_type)):
        raise EncodingError("a body in another character set than UTF-8")


def _check_upgrade(turn: Turn) -> None:
    """Refuse WebSocket: its messages are not read."""
    if "upgrade" in turn.call.headers:
        turn.refuse(Reason.WEB_SEARCH_UNINSPECTABLE, "WebSocket messages to a vendor are not read", "websocket")


def _check_unread(turn: Turn) -> None:
    """Refuse a body that stands beside an unusual method and may hold tools: a lenient server would read it."""
    if turn.json is None and turn.call.method != "POST":
        unknown_endpoint(turn)


def _check_signed(turn: Turn) -> None:
    """Refuse a signed request that does not comply as it is: rewriting would break its signature."""
    if not turn.call.signed or not (turn.findings or turn.touched):
        return
    turn.must_survive("the body is signed and carries a search that is not permitted")
    if turn.headers or (turn.json is not None and turn.json != decode(turn.call.body)):
        turn.refuse(Reason.WEB_SEARCH_UNFILTERABLE, "the body is signed, so its filter cannot be narrowed", "signed")
