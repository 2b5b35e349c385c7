"""What each vendor would be sent for a group, what its language cannot say, and the line that would make it sayable."""

from collections.abc import Iterator
from dataclasses import dataclass

from outward.core.model import PatternKind, Rule
from outward.core.policy import Group, Policy
from outward.search.narrowing import Dropped, FilterCapabilities, Inexpressible, Narrowed, narrow, unsaid
from outward.search.scope import Scope, expressible, suffixes
from outward.search.vendors import NAMES, load


@dataclass(frozen=True, slots=True)
class Explained:
    """One search tool of one vendor.

    Attributes:
        sent: what would be sent for a request without a filter of its own; None if the tool has no filter.
        filtered: whether the response is filtered exactly.
        unsaid: rules of the policy that cannot be said, why, and the line that would help.
    """

    vendor: str
    tool: str
    sent: Narrowed | None
    unsaid: tuple[Dropped, ...] = ()
    filtered: bool = False

    def as_json(self) -> dict[str, object]:
        """Return the explanation in its public form."""
        sent = self.sent
        return {
            "vendor": self.vendor,
            "tool": self.tool,
            "filterable": sent is not None and sent.sayable,
            "response_filtered": self.filtered,
            "unrestricted": sent is not None and sent.unrestricted,
            "allowed_domains": list(sent.allowed) if sent else [],
            "blocked_domains": list(sent.blocked) if sent else [],
            "truncated": sent.truncated if sent else 0,
            "unsaid": [{"entry": each.entry, "why": str(each.why), "line": each.line} for each in self.unsaid],
        }


def explain_search(policy: Policy, group: Group) -> tuple[Explained, ...]:
    """Return, per vendor and tool, what a group's search without a filter of its own would be sent."""
    scope = Scope(policy, group, group.web_search)
    return tuple(_explained(scope, name, tool, language) for name, tool, language in _tools())


def mute(policy: Policy, group: Group) -> Rule | None:
    """Return the first rule of a group whose searches would be sent no domain but vendors' own; None if they are."""
    scope = Scope(policy, group, group.web_search)
    if scope.unrestricted or any(policy.vendor_of(name) is None for name in scope.candidates):
        return None
    return next((rule for rule in scope.rules if policy.vendor_of(rule.pattern.value) is None), None)


def _tools() -> Iterator[tuple[str, str, FilterCapabilities | None]]:
    for name in NAMES:
        for tool, language in load(name).languages.items():
            yield name, tool, language


def _explained(scope: Scope, vendor: str, tool: str, language: FilterCapabilities | None) -> Explained:
    filtered = load(vendor).filters_responses
    if language is None:
        return Explained(vendor, tool, None, filtered=filtered)
    sent = narrow(scope, language)
    unsayable = () if sent.unrestricted else tuple(_unsaid(scope, language, sent))
    return Explained(vendor, tool, sent, unsayable, filtered)


def _unsaid(scope: Scope, language: FilterCapabilities, sent: Narrowed) -> Iterator[Dropped]:
    """Yield the allow rules that the vendor's language cannot say, and that no entry stands for either."""
    allowed = frozenset(sent.allowed)
    for rule in scope.rules:
        kind, name, text = rule.pattern.kind, rule.pattern.value, str(rule.pattern)
        if kind not in (PatternKind.EXACT, PatternKind.BELOW) or not scope.searched(name):
            continue
        if not allowed.isdisjoint(suffixes(name)):
            continue
        if not expressible(rule):
            yield Dropped(text, Inexpressible.NOT_ALLOWED, f"- {name}")
        elif (found := unsaid(scope, language, name)) is not None:
            yield Dropped(text, found.why, found.line)
