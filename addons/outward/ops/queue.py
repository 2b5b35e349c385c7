"""The queue on the admin page: what was asked for, approving and denying it, and the grants in force.

What clients wrote is shown as their words, escaped like everything, and is nowhere a link.
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from outward.core.grants import takes_grants
from outward.ops import ask
from outward.ops.access import Access
from outward.ops.api import Handler
from outward.ops.ask import Asked
from outward.ops.asking import Asking, granted, shown
from outward.ops.principals import CHANGING
from outward.ops.sources import Sources
from outward.ops.web import Problem, Response, Route, redirect
from outward.records.state.requests import OPEN, STATES

UNTIL = (("1h", "1 hour"), ("8h", "8 hours"), ("1d", "1 day"), ("7d", "7 days"), ("30d", "30 days"))
USUAL = "8h"
_ROWS = 50


class Queue:
    """The handlers, by route.

    Args:
        page: renders a template for whoever asks.
    """

    def __init__(self, sources: Sources, access: Access, page: Callable[..., Response]) -> None:
        self._from, self._access, self._page = sources, access, page
        self._asking = Asking(sources)

    def routes(self) -> list[Route[Handler]]:
        """Return the routes."""
        return [
            Route("GET", "/requests", self.requests),
            Route("POST", "/requests", self.make),
            Route("POST", "/requests/{id}", self.decide),
            Route("POST", "/grants/{id}", self.revoke),
        ]

    def requests(self, asked: Asked) -> Response:
        """Show the queue, and the grants in force."""
        found = asked.query("state", "cursor", "done", form=True)
        state = found.get("state", OPEN)
        after = ask.read_cursor(found["cursor"]) if "cursor" in found else None
        rows, more = self._asking.listed(asked, None, None if state == "all" else state, _ROWS, after)
        policy = self._from.policy()
        done = self._asking.found(Asked(asked.request, asked.token, {"id": found["done"]})) if "done" in found else None
        return self._page(
            "requests.html",
            asked,
            section="requests",
            rows=[{**shown(row, policy), "opens": takes_grants(policy, row.group)} for row in rows],
            done=None if done is None else shown(done, policy),
            grants=[granted(each) for each in self._asking.in_force(asked)],
            may=asked.token.role in CHANGING,
            state=state,
            states=(*STATES, "all"),
            until=UNTIL,
            usual=USUAL,
            query=urlencode({"state": state}),
            next_cursor=ask.write_cursor((rows[-1].last, rows[-1].id)) if more else None,
        )

    def _form(self, asked: Asked) -> dict[str, str]:
        form = asked.request.form()
        self._access.check_form(asked.request, form)
        return form

    def make(self, asked: Asked) -> Response:
        """Ask for what a blocked row shows; approve it at once where the form says until when."""
        form = self._form(asked)
        if not {"group", "url"} <= form.keys():
            raise Problem(400, "the form is not complete")
        if form.get("until"):
            asked.token.demand_change()
        kept = self._asking.asked(asked, form["group"], form["url"], form.get("why", ""), form.get("method") or None)
        if form.get("until"):
            named = Asked(asked.request, asked.token, {"id": kept.id})
            self._asking.decide(named, "approve", form["until"], form.get("why", ""))
        return _back(kept.id)

    def decide(self, asked: Asked) -> Response:
        """Approve or deny a request, from a form."""
        form = self._form(asked)
        outcome = self._asking.decide(asked, form.get("decision", ""), form.get("until") or None, form.get("note", ""))
        return _back(outcome.request.id)

    def revoke(self, asked: Asked) -> Response:
        """End a grant, from a form."""
        self._form(asked)
        self._asking.end(asked)
        return redirect("/requests")


def askable(row: dict[str, Any]) -> dict[str, str] | None:
    """Return what a form asks for with a blocked row; None if no line would allow it."""
    if row["suggestion"] is None or not row["host"] or ":" in row["host"] or row["group"] is None:
        return None
    seen = row["method"] if row["stage"] == "request" else None
    url = f"{row['scheme'] or 'https'}://{row['host']}:{row['port']}{(row['path'] or '/') if seen else ''}"
    return {"group": row["group"], "url": url, "method": seen or ""}


def _back(ident: str) -> Response:
    return redirect(f"/requests?{urlencode({'done': ident})}")
