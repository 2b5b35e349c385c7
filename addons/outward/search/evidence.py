"""What the responses showed: searches, queries, sources, citations, each source judged by the exact policy.

Bounded whatever a vendor sends, and de-duplicated by the vendor's own ids, so that polling counts nothing twice.
"""

import re
from collections.abc import Container
from dataclasses import dataclass
from urllib.parse import urlsplit

from outward.core.reasons import Reason
from outward.search.scope import Scope

# The most that one exchange keeps of each kind; further ones are judged and counted, not kept.
MOST = 500
_LONGEST = {"url": 2048, "title": 300, "query": 1000}
_TRACKING = re.compile(
    r"(?<=[?&])utm_source=(?:openai|chatgpt\.com|chatgpt|perplexity|grok|xai|anthropic|claude)(?:&|(?=#|$))",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Source:
    """A page that a search found, opened or cited.

    Attributes:
        permitted: whether the exact policy allows it.
        reason: `source_outside_allowlist`, `unverifiable` (only its domain is known), or None.
    """

    url: str
    title: str | None
    permitted: bool
    reason: str | None = None

    def as_json(self) -> dict[str, object]:
        """Return the source as receipts show it."""
        return {"url": self.url, "title": self.title, "permitted": self.permitted, "reason": self.reason}


def plain_url(url: str) -> str:
    """Return a URL without the parameters that the vendor added to it."""
    found = _TRACKING.sub("", url[: _LONGEST["url"]])
    return re.sub(r"[?&](?=#|$)", "", found, count=1)


class SearchEvidence:
    """What one exchange showed so far.

    Args:
        scope: judges the sources.
        counted: ids of searches that an earlier response showed, where this one repeats it.

    Attributes:
        ids: the vendor's ids of what was seen.
        refused: of these, the ids of searches that the vendor did not run.
        billed: searches that the vendor says it ran; 0 if it does not say.
        machines: ids of the vendor's machines that what it answers ran on.
        threads: ids under which the vendor keeps a conversation, if it was asked to.
        unverifiable: sources of which only the domain is known.
        incomplete: the stream ended early, or part of it could not be read.
        repeated: a search was seen that an earlier response had shown.
        at_work: the vendor said that there is more to come, for whoever asks again.
        too_large: the vendor said that a search was too large, which is how a long domain list fails.
    """

    def __init__(self, scope: Scope, counted: Container[str] = ()) -> None:
        self._scope = scope
        self._counted = counted
        self.ids: set[str] = set()
        self._begun: set[str] = set()
        self.refused: set[str] = set()
        self._urls: set[tuple[str, str]] = set()
        self.searches = 0
        self.billed = 0
        self.queries: list[str] = []
        self.sources: list[Source] = []
        self.citations: list[Source] = []
        self.out_of_policy: list[str] = []
        self.unverifiable = 0
        self.incomplete = False
        self.too_large = False
        self.repeated = self.at_work = False
        self.broken_promise: str | None = None
        self.machines: set[str] = set()
        self.threads: set[str] = set()

    @property
    def violated(self) -> bool:
        """Whether something outside the allowlist was seen."""
        return bool(self.out_of_policy) or self.broken_promise is not None

    def began(self, ident: object) -> None:
        """Note a search of which only the beginning was seen so far."""
        if isinstance(ident, str) and len(self._begun) < MOST:
            self._begun.add(ident)

    def settled(self, ident: object) -> None:
        """Take note that what began was no search after all."""
        self._begun.discard(str(ident))

    def left(self) -> None:
        """Count the searches whose end was not seen: the vendor may have run them."""
        for ident in sorted(self._begun):
            self.search(ident)

    def search(self, ident: object, *queries: object) -> None:
        """Note one search; the same id counts once."""
        self.settled(ident)
        if not self.once(ident):
            return
        self.searches += 1
        for query in queries:
            self.query(query)

    def unrun(self, ident: object) -> None:
        """Take note that the vendor refused a search that was counted: beyond a limit, or in error."""
        if isinstance(ident, str) and ident in self.ids and ident not in self.refused:
            self.refused.add(ident)
            self.searches -= 1

    def machine(self, ident: object) -> None:
        """Note a machine of the vendor's."""
        if isinstance(ident, str) and ident and len(self.machines) < MOST:
            self.machines.add(ident)

    def thread(self, ident: object) -> None:
        """Note the id of an answer, under which the vendor may keep the conversation."""
        if isinstance(ident, str) and ident and len(self.threads) < MOST:
            self.threads.add(ident)

    def once(self, ident: object) -> bool:
        """Tell whether an id is new; what has no id always is."""
        if not isinstance(ident, str) or not ident:
            return True
        if ident in self.ids:
            return False
        if ident in self._counted:
            self.repeated = True
            return False
        if len(self.ids) < 8 * MOST:
            self.ids.add(ident)
        return True

    def query(self, text: object) -> None:
        """Note what was asked."""
        if isinstance(text, str) and text and len(self.queries) < MOST:
            self.queries.append(text[: _LONGEST["query"]])

    def source(self, url: object, title: object = None) -> None:
        """Note a result or a page that the vendor opened."""
        self._note("source", url, title, self.sources)

    def citation(self, url: object, title: object = None) -> None:
        """Note a page that the answer cites."""
        self._note("citation", url, title, self.citations)

    def redirected(self, url: object, domain: object, *, cited: bool) -> None:
        """Note a source behind the vendor's own redirect: its domain is known, its path is not."""
        name = domain if isinstance(domain, str) else ""
        sight = self._scope.source(f"https://{name}/")
        permitted = sight.permitted or sight.reason is Reason.PATH_NOT_ALLOWED
        text = plain_url(url) if isinstance(url, str) else name
        if not self._new("citation" if cited else "source", text):
            return
        self.unverifiable += 1
        reason = "unverifiable" if permitted else str(Reason.SOURCE_OUTSIDE_ALLOWLIST)
        self._keep(self.citations if cited else self.sources, Source(text, name[:300] or None, permitted, reason), name)

    def promise(self, sent: tuple[str, ...] | None, echoed: object) -> None:
        """Compare the filter that the vendor says it applies with the one that was sent."""
        if sent is None:
            return
        if not isinstance(echoed, list) or not {str(each).lower() for each in echoed} <= set(sent):
            self.broken_promise = "the vendor did not apply the domain filter"

    def _note(self, kind: str, url: object, title: object, into: list[Source]) -> None:
        if not isinstance(url, str) or not url:
            return
        text = plain_url(url)
        if not self._new(kind, text):
            return
        permitted = self._scope.source(text).permitted
        name = title[: _LONGEST["title"]] if isinstance(title, str) else None
        reason = None if permitted else str(Reason.SOURCE_OUTSIDE_ALLOWLIST)
        self._keep(into, Source(text, name, permitted, reason), text)

    def _new(self, kind: str, url: str) -> bool:
        if (kind, url) in self._urls:
            return False
        if len(self._urls) < 4 * MOST:
            self._urls.add((kind, url))
        return True

    def _keep(self, into: list[Source], source: Source, what: str) -> None:
        if len(into) < MOST:
            into.append(source)
        if not source.permitted and what not in self.out_of_policy and len(self.out_of_policy) < MOST:
            self.out_of_policy.append(what)


def host_of(url: str) -> str:
    """Return the host of a URL for display, or an empty string."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
