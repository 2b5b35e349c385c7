"""One request to a governed host while it is being judged: what adapters ask, and what they leave behind.

An adapter knows a vendor's shapes; the turn knows the policy. Whatever the adapter finds goes through `search`,
`unfilterable`, `reach` or `refuse`: toggle, opt-in, narrowing and the order of reasons are decided in one place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from outward.core.model import Unfilterable, WebSearch
from outward.core.reasons import Reason
from outward.search.jsonbody import folded
from outward.search.learned import Learned
from outward.search.machines import Machines
from outward.search.narrowing import BlockListError, Dropped, FilterCapabilities, Narrowed, narrow
from outward.search.opening import opening
from outward.search.registry import CLOSED, Valve
from outward.search.scope import Scope
from outward.search.surface import Surface, Tool
from outward.search.tools import Action, SearchTool, UngovernableError, Unknown

_HAZARDS = frozenset({Tool.SEARCH, Tool.FETCH, Tool.CONNECTOR, Tool.AGENT})
MOST_ASKED = 20_000  # searches and filter entries of one request: each costs some 100 microseconds


@dataclass(frozen=True, slots=True)
class VendorCall:
    """A request as an adapter sees it.

    Attributes:
        adapter: name of the vendor's adapter.
        schema: of the endpoint, as the adapter names it.
        host: canonical host that the request goes to.
        path: path as the vendor routes it, escapes decoded, without query.
        query: raw query, without the question mark.
        headers: values by lower-case name.
        body: the body without content encoding.
    """

    adapter: str
    host: str
    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    schema: str = ""

    @property
    def signed(self) -> bool:
        """Whether the body is under a signature, so that it cannot be rewritten (AWS Signature Version 4)."""
        by_header = self.headers.get("authorization", "").lstrip().upper().startswith("AWS4-")
        return by_header or "x-amz-signature" in self.query.lower()


@dataclass(slots=True)
class GovernedRequest:
    """A request being judged.

    Attributes:
        surface: of the vendor whose format this is.
        valve: what the policy lets through at this host although no table names it.
        stop: why this client may not search at all, or None.
        trusted: whether the host is trusted to apply its format's filter.
        mcp_tools: formats of search tools by name, on an MCP server.
        json: the decoded body, which the adapter changes in place.
        findings: the search capabilities found so far.
        headers: header changes for upstream; None removes.
        audited: False for requests that only count tokens.
        watch: whether the response is read although the request has no search (retrieval).
        filtered: whether the response is filtered exactly, as a whole.
        touched: whether something other than a search was rewritten.
        asked: searches and filter entries judged so far.
        unknowns: what no table names, and passes to be watched.
        sandboxes: machines at the vendor, and the network that each was given.
        left: searches that the group's day leaves to this request; None if no day is limited.
        owner: path of the group whose request it is.
        machines: at vendors, that groups made earlier.
        holds: whether the vendor keeps this conversation under the id of its answer.
        kinds: whether a type is that of a tool that must be judged, by what the body names.
        known: the tools that were judged, by their identity.
        bounds: the most searches that the vendor was told, for each tool or request that can be told.
    """

    call: VendorCall
    scope: Scope
    settings: WebSearch
    surface: Surface
    valve: Valve = CLOSED
    stop: Reason | None = None
    trusted: bool = True
    mcp_tools: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    findings: list[SearchTool] = field(default_factory=list)
    headers: dict[str, str | None] = field(default_factory=dict)
    audited: bool = True
    watch: bool = False
    filtered: bool = False
    touched: bool = False
    asked: int = 0
    unknowns: list[Unknown] = field(default_factory=list)
    sandboxes: list[SearchTool] = field(default_factory=list)
    left: int | None = None
    owner: str = ""
    machines: Machines = field(default_factory=Machines)
    bounds: list[int] = field(default_factory=list)
    holds: bool = False
    kinds: dict[str, bool] = field(default_factory=dict)
    known: dict[int, dict[str, Any]] = field(default_factory=dict)

    @property
    def learned(self) -> Learned:
        """What the vendor's answers to this group have taught."""
        return self.scope.learned(self.call.host)

    @property
    def searching(self) -> bool:
        """Whether a search stays in the request."""
        return any(finding.action not in (Action.STRIPPED, Action.DENIED) for finding in self.findings)

    @property
    def effective(self) -> tuple[str, ...] | None:
        """The allow list of the searches that stay, if there is one."""
        lists = [f.effective for f in self.findings if f.effective is not None and f.action is not Action.STRIPPED]
        return tuple(sorted({name for each in lists for name in each})) if lists else None

    def search(
        self,
        tool: str,
        language: FilterCapabilities,
        allow: Sequence[object] | None = None,
        block: Sequence[object] = (),
    ) -> Narrowed | None:
        """Return the filter for a search tool, or None if the tool must go.

        Args:
            tool: the vendor's name of the tool.
            language: what its filter can say.
            allow: the caller's allow list as it stands in the request.
            block: the caller's block list as it stands in the request.
        """
        self.asked += 1 + len(allow or ()) + len(block)
        if self.asked > MOST_ASKED:
            self.refuse(Reason.TOO_LARGE, "more searches and filter entries than one request may hold", tool)
        asked = None if allow is None else tuple(str(entry)[:255] for entry in allow)
        if self.stop is not None:
            self._strip(tool, self.stop, asked)
            return None
        most = self.learned.most(asked)
        if most is not None and (language.limit is None or most < language.limit):
            language = replace(language, limit=most)
        try:
            narrowed = narrow(self.scope, language, allow, block, self.learned.refused)
        except BlockListError:
            self._strip(tool, Reason.WEB_SEARCH_NO_PERMITTED_SOURCE, asked)
            return None
        if not narrowed.sayable or not (self.trusted or self.filtered):
            return narrowed if self.unfilterable(tool, asked) else None
        if narrowed.empty:
            self._strip(tool, Reason.WEB_SEARCH_NO_PERMITTED_SOURCE, asked, narrowed.dropped)
            return None
        self._found(tool, narrowed, asked)
        return narrowed

    def unfilterable(self, tool: str, asked: tuple[str, ...] | None = None, *, verifiable: bool = True) -> bool:
        """Tell whether a search tool without a domain filter may stay, to be judged by what it finds."""
        if self.stop is not None:
            self._strip(tool, self.stop, asked)
            return False
        if not self.filtered and (self.settings.unfilterable is Unfilterable.BLOCK or not verifiable):
            self._strip(tool, Reason.WEB_SEARCH_UNFILTERABLE, asked)
            return False
        self.findings.append(SearchTool(tool, Action.OBSERVED, requested=asked))
        return True

    def _found(self, tool: str, narrowed: Narrowed, asked: tuple[str, ...] | None) -> None:
        """Note a search that stays."""
        effective = narrowed.allowed or None
        same = (effective == asked or (effective is None and asked is None)) and not narrowed.blocked
        self.findings.append(
            SearchTool(
                tool,
                Action.ALLOWED if same else Action.NARROWED,
                requested=asked,
                effective=effective,
                blocked=narrowed.blocked,
                truncated=narrowed.truncated,
                dropped=narrowed.dropped,
            )
        )

    def _strip(
        self, tool: str, reason: Reason, asked: tuple[str, ...] | None, dropped: tuple[Dropped, ...] = ()
    ) -> None:
        self.findings.append(SearchTool(tool, Action.STRIPPED, reason, requested=asked, dropped=dropped))

    def reach_server(self, url: object, what: str) -> None:
        """Refuse the request unless the client itself might read from the URL and post to it, as the vendor would.

        Raises:
            RefusedError: with the reason that such a request would have been given.
        """
        for method in ("GET", "POST"):  # both belong to MCP's transport
            self.reach(url, what, method)

    def reach(self, url: object, what: str, method: str = "GET") -> None:
        """Refuse the request unless the client itself might fetch the URL that the vendor would fetch for it.

        Raises:
            RefusedError: with the reason that a connection would have been given.
        """
        sight = self.scope.reach(url.strip(), method) if isinstance(url, str) else None
        if sight is None or not sight.permitted:
            reason = Reason.MALFORMED_REQUEST if sight is None else sight.reason
            raise UngovernableError(
                reason, f"the vendor would fetch an address that this group may not reach: {what}", what
            )

    def judged(self, tool: dict[str, Any]) -> dict[str, Any]:
        """Take note that a tool, as it goes upstream, was judged; returns it."""
        self.known[id(tool)] = tool
        return tool

    def strays(self, value: dict[str, Any], kind: str) -> bool:
        """Tell whether an object is a tool of the vendor's that searches, fetches or calls, and was not judged."""
        hazard = self.kinds.get(kind)
        if hazard is None:
            does = self.surface.tool(kind) or self.surface.tool(folded(kind))
            hazard = self.kinds[kind] = does in _HAZARDS
        return hazard and id(value) not in self.known

    def tool(self, kind: str) -> Tool:
        """Return what a tool does; one that no table names is the client's own only where the policy says so.

        Raises:
            RefusedError: for one that nobody knows.
        """
        found = self.surface.tool(kind)
        if found is None and kind not in self.valve.tools:
            self.unknown(Reason.WEB_SEARCH_UNKNOWN_TOOL, "an unknown tool type", kind)
        return found or Tool.OWN

    def unknown(self, reason: Reason, detail: str, what: str) -> None:
        """Refuse what no table names, unless the policy only watches it; the line says what would open it.

        Raises:
            RefusedError: where the policy does not only watch.
        """
        if self.valve.report:
            self.unknowns.append(Unknown(reason, what[:100]))
            return
        raise UngovernableError(reason, detail, what[:100], opening(self.call.host, self.surface.name, reason, what))

    def refuse(self, reason: Reason, detail: str, tool: str = "request") -> NoReturn:
        """Deny the request."""
        raise UngovernableError(reason, detail, tool)

    def must_survive(self, detail: str) -> None:
        """Deny the request where a search was stripped from it that it cannot do without."""
        for finding in self.findings:
            if finding.action is Action.STRIPPED and finding.reason is not None:
                raise UngovernableError(finding.reason, detail, finding.tool)

    def always_searches(self, tool: str, detail: str) -> NoReturn:
        """Deny a model that searches whether or not it is asked to, and has no filter."""
        raise UngovernableError(self.stop or Reason.WEB_SEARCH_UNFILTERABLE, detail, tool)

    def clamp(self, asked: object) -> int | None:
        """Return the most searches for a request: the smallest of the caller's limit and the group's."""
        own = asked if isinstance(asked, int) and not isinstance(asked, bool) and asked >= 0 else None
        known = [most for most in (own, self.settings.max_searches, self.left) if most is not None]
        self.bounds += [min(known)] if known else []
        return min(known) if known else None
