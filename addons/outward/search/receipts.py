"""Receipts and audit details: what a conversation's searches did, as values.

A receipt is what a chat surface draws "Searched the web" from; the details are what compliance reads. Queries and
addresses are in them only where the group's `record` says `full`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from outward.core.model import Filter, RecordDetail
from outward.core.reasons import Reason
from outward.search.evidence import SearchEvidence, Source, host_of
from outward.search.tools import Action, SearchTool

# The most that a receipt keeps of each list, over all requests of a conversation.
MOST = 1000
_DROPPED = 10  # entries that the audit names; it counts them all


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the searches of a conversation, or of one of its requests, did.

    Attributes:
        searches: how many the vendors ran.
        incomplete: a stream ended early, so there may have been more.
    """

    conversation: str | None
    group: str
    searches: int = 0
    queries: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()
    citations: tuple[Source, ...] = ()
    incomplete: bool = False

    def merged(self, later: "Receipt") -> "Receipt":
        """Return the receipt of both, with each source once."""
        return replace(
            self,
            searches=self.searches + later.searches,
            queries=(*self.queries, *later.queries)[-MOST:],
            sources=_once((*self.sources, *later.sources)),
            citations=_once((*self.citations, *later.citations)),
            incomplete=self.incomplete or later.incomplete,
        )

    def as_json(self) -> dict[str, object]:
        """Return the receipt in its public form."""
        return {
            "conversation": self.conversation,
            "group": self.group,
            "searches": self.searches,
            "queries": list(self.queries),
            "sources": [source.as_json() for source in self.sources],
            "citations": [source.as_json() for source in self.citations],
            "incomplete": self.incomplete,
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "Receipt":
        """Return the receipt that `as_json` wrote."""
        return Receipt(
            conversation=value["conversation"],
            group=value["group"],
            searches=value["searches"],
            queries=tuple(value["queries"]),
            sources=tuple(Source(**each) for each in value["sources"]),
            citations=tuple(Source(**each) for each in value["citations"]),
            incomplete=value["incomplete"],
        )

    def as_markdown(self) -> str:
        """Return the receipt for people: a count, the queries, and the sources as links."""
        times = {0: "No web search", 1: "Searched the web once"}.get(
            self.searches, f"Searched the web {self.searches} times"
        )
        lines = [f"**{times}**" + (" (incomplete)" if self.incomplete else "")]
        lines += ["", *(f"- {_plain(query)}" for query in self.queries)] if self.queries else []
        for heading, found in (("Cited", self.citations), ("Sources", self.sources)):
            if found:
                lines += ["", f"{heading}:", "", *(_link(source) for source in found)]
        return "\n".join(lines) + "\n"


def receipt_of(conversation: str | None, group: str, seen: SearchEvidence, detail: RecordDetail) -> Receipt:
    """Return the receipt of one exchange."""
    full = detail is RecordDetail.FULL
    return Receipt(
        conversation,
        group,
        searches=seen.searches,
        queries=tuple(seen.queries) if full else (),
        sources=tuple(seen.sources) if full else (),
        citations=tuple(seen.citations) if full else (),
        incomplete=seen.incomplete,
    )


def _once(sources: Iterable[Source]) -> tuple[Source, ...]:
    return tuple({source.url: source for source in sources}.values())[:MOST]


def _plain(text: str) -> str:
    """Return text that means nothing to Markdown or HTML."""
    line = " ".join(text.split())
    return "".join(
        f"\\{c}" if c in "\\`*_{}[]()#+!|>~" else "&lt;" if c == "<" else "&amp;" if c == "&" else c for c in line
    )


def _link(source: Source) -> str:
    flag = {None: "", "unverifiable": " (only the domain is known)"}.get(source.reason, " (outside the allowlist)")
    title = _plain(source.title or host_of(source.url) or source.url)
    if not source.url.lower().startswith(("https://", "http://")):
        return f"- {title}{flag}"
    return f"- [{title}](<{quote(source.url, safe=_URL_SAFE)}>){flag}"


_URL_SAFE = ":/?#[]@!$&'*+,;=%-._~"


@dataclass(frozen=True, slots=True)
class Audited:
    """One audit event of a search, without the facts of its client.

    Attributes:
        name: `web_search_invoked` or `web_search_blocked`.
        details: the event's own part of GitLab's `details`.
    """

    name: str
    details: dict[str, object]


def blocked(vendor: str, finding: SearchTool) -> Audited:
    """Return the audit event of a search that was stripped or denied."""
    return Audited("web_search_blocked", _details(vendor, finding))


def sandboxed(vendor: str | None, finding: SearchTool) -> Audited:
    """Return the audit event of a machine at the vendor: the network that it asked for, and the one that it got."""
    return Audited("vendor_sandbox_limited", _details(vendor or "", finding))


def invoked(
    vendor: str, findings: Iterable[SearchTool], seen: SearchEvidence, detail: RecordDetail, mode: Filter
) -> Audited:
    """Return the audit event of a request that searched."""
    live = [finding for finding in findings if finding.reason is None]
    finding = live[0] if live else SearchTool("retrieval", Action.OBSERVED)
    merged = replace(finding, tool=", ".join(dict.fromkeys(each.tool for each in live)) or finding.tool)
    return Audited("web_search_invoked", _details(vendor, merged, seen=seen, detail=detail, mode=mode))


def _details(
    vendor: str,
    finding: SearchTool,
    *,
    seen: SearchEvidence | None = None,
    detail: RecordDetail = RecordDetail.FULL,
    mode: Filter | None = None,
) -> dict[str, object]:
    full = seen is not None and detail is RecordDetail.FULL
    reason = finding.reason
    if seen is not None and seen.violated:
        reason = Reason.SOURCE_OUTSIDE_ALLOWLIST
    return {
        "vendor": vendor,
        "tool_type": finding.tool,
        "action": str(finding.action),
        "reason": None if reason is None else str(reason),
        "filter": None if mode is None else str(mode),
        "request_domains": None if finding.requested is None else list(finding.requested),
        "effective_domains": None if finding.effective is None else list(finding.effective),
        "blocked_domains": list(finding.blocked),
        "truncated": finding.truncated,
        "dropped": [{"entry": each.entry, "why": str(each.why)} for each in finding.dropped[:_DROPPED]],
        "dropped_count": len(finding.dropped),
        "search_count": seen.searches if seen else 0,
        "billed_searches": seen.billed if seen else 0,
        "queries": list(seen.queries) if seen and full else [],
        "sources": [source.url for source in seen.sources] if seen and full else [],
        "citations": [source.url for source in seen.citations] if seen and full else [],
        "source_count": len(seen.sources) if seen else 0,
        "citation_count": len(seen.citations) if seen else 0,
        "out_of_policy": list(seen.out_of_policy) if seen and full else [],
        "out_of_policy_count": len(seen.out_of_policy) if seen else 0,
        "unverifiable": seen.unverifiable if seen else 0,
        "incomplete": seen.incomplete if seen else False,
    }
