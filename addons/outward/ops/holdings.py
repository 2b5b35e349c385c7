"""Secrets as an administrator sees them: which there are, where rules set them, who used which. Never a value.

A scope sees the secrets that a group of it may use, and the rules that count there; where a value comes from is for
those who see everything. Used by the API and by the page.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from outward.config.settings import SecretEntry
from outward.core.policy import Group, layers, within
from outward.ops import ask, views
from outward.ops.ask import Asked
from outward.ops.web import Response, Route, as_json
from outward.records.database import Database
from outward.records.state.uses import SecretUse, UsesQuery, refusals, uses

if TYPE_CHECKING:
    from outward.ops.api import Handler
    from outward.ops.sources import Sources

_MONTH = 30 * 86_400.0  # seconds


class Holdings:
    """Secrets and their uses within a token's scope."""

    def __init__(self, sources: "Sources") -> None:
        self._from = sources

    def routes(self) -> "list[Route[Handler]]":
        """Return the routes of the API."""
        root = "/api/v1/secrets"
        return [Route("GET", root, self.secrets), Route("GET", f"{root}/uses", self.uses)]

    def secrets(self, asked: Asked) -> Response:
        """List the secrets that groups of the scope may use."""
        found = asked.query("group", "since", "limit", "cursor")
        limit, after = ask.page(found)
        with self._from.reader.database() as database:
            rows = self.held(database, self.wanted(asked, found))
        return _list(rows, limit, after)

    def uses(self, asked: Asked) -> Response:
        """List who used which secret, the last first."""
        found = asked.query("group", "secret", "conversation", "since", "limit", "cursor")
        limit, after = ask.page(found)
        with self._from.reader.database() as database:
            rows = [use.as_json() for use in uses(database, self.wanted(asked, found))]
        return _list(rows, limit, after)

    def wanted(self, asked: Asked, found: dict[str, str]) -> UsesQuery:
        """Read which uses are wanted, within the token's scope; by default those of a month.

        Raises:
            Problem: 400, or 403 for a group outside the scope.
        """
        group, since = found.get("group"), ask.moment("since", found.get("since"))
        if group is not None:
            asked.token.demand(group)
        since = self._from.now() - _MONTH if since is None else since
        return UsesQuery(ask.scope(asked.token), group, since, found.get("secret"), found.get("conversation"))

    def held(self, database: Database, wanted: UsesQuery, used: list[SecretUse] | None = None) -> list[dict[str, Any]]:
        """Return the secrets that a group of the scope may use, by name; `used` are the uses, if they are at hand."""
        newest = {use.secret: use.last for use in reversed(uses(database, wanted) if used is None else used)}
        refused = refusals(database, wanted)
        groups = list(self._groups(wanted.scope if wanted.group is None else wanted.group))
        found = []
        for entry in sorted(self._from.secrets(), key=lambda each: each.name):
            if not _seen(entry, wanted):
                continue
            refusal = refused.get(entry.name)
            row = {
                "name": entry.name,
                "source": _source(entry) if wanted.scope is None else None,
                "hosts": [str(each) for each in entry.hosts],
                "groups": list(entry.groups),
                "bound": [row for group in groups for row in _bound(group, entry.name)],
                "last_used": newest.get(entry.name),
                "misdirected": 0 if refusal is None else refusal.count,
                "misdirected_last": None if refusal is None else refusal.last,
            }
            found.append(row)
        return found

    def _groups(self, path: str | None) -> Iterator[Group]:
        """Yield the groups of a subtree, and those above it, whose rules count there."""
        groups = self._from.policy().groups
        paths = {node.path for each in groups.values() if within(each.path, path) for node in each.chain}
        yield from (groups[each] for each in sorted(paths))


def _bound(group: Group, secret: str) -> list[dict[str, Any]]:
    """Return a group's own rules that set a secret, whichever file writes them."""
    return [
        views.allow_row(group, layer, rule)
        for layer in layers([group])
        for rule in layer.allow.all
        if rule.inject is not None and secret in rule.inject.names
    ]


def _seen(entry: SecretEntry, wanted: UsesQuery) -> bool:
    """Tell whether a group of the scope, and of the group that is asked for, may use a secret."""
    paths = [path for path in (wanted.scope, wanted.group) if path is not None]
    return not entry.groups or all(
        any(within(path, each) or within(each, path) for each in entry.groups) for path in paths
    )


def _source(entry: SecretEntry) -> str:
    return f"variable {entry.env}" if entry.file is None else f"file {entry.file}"


def _list(rows: list[dict[str, Any]], limit: int, after: tuple[int, str] | None) -> Response:
    begin = after[0] if after else 0
    more = ask.write_cursor((begin + limit, "")) if len(rows) > begin + limit else None
    return as_json({"items": rows[begin : begin + limit], "next_cursor": more})
