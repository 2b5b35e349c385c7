"""The admin page: what each path outside /api answers, as HTML. Every handler runs in a thread and sees one scope.

Owns forms and what a page shows; values come from the same sources as the API's. Templates escape everything.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from outward.core.explain import explain
from outward.core.grants import takes_grants
from outward.core.model import Question
from outward.core.reasons import Reason
from outward.core.suggest import question_about
from outward.ops import ask, views
from outward.ops.access import Access
from outward.ops.api import Handler, told
from outward.ops.ask import Asked, scope
from outward.ops.attempts import Attempts
from outward.ops.holdings import Holdings
from outward.ops.principals import CHANGING
from outward.ops.queue import UNTIL, USUAL, Queue, askable
from outward.ops.sources import Sources
from outward.ops.templating import templates
from outward.ops.tokens import Tokens
from outward.ops.web import OpsRequest, Problem, Response, Route, redirect
from outward.records.audit import audit_query, verify
from outward.records.events import query
from outward.records.events.query import Filters
from outward.records.events.rows import milliseconds
from outward.records.events.values import Record, rfc3339
from outward.records.state import receipts
from outward.records.state.uses import uses

HTML = "text/html; charset=utf-8"
SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_ROWS = 100
_OTHERS = 10
_RECENT = 2000  # events of a client that are looked at for its other attempts


@dataclass(frozen=True, slots=True)
class ChainStatus:
    """What the audit page says of the chain; `ok` is None while the first verification runs."""

    ok: bool | None
    detail: str


class Pages:
    """The handlers, by route.

    Args:
        check_chain: returns what the last verification of the audit chain found.
    """

    def __init__(self, sources: Sources, access: Access, check_chain: Callable[[], verify.ChainReport | None]) -> None:
        self._from, self._access, self._check_chain = sources, access, check_chain

    def routes(self) -> list[Route[Handler]]:
        """Return the routes of the page; signing in and static files are the application's."""
        return [
            Route("GET", "/decisions/{id}", self.decision),
            Route("GET", "/groups", self.groups),
            Route("GET", "/groups/{path...}", self.group),
            Route("POST", "/groups/{path...}", self.set_web_search),
            Route("GET", "/conversations", self.conversations),
            Route("GET", "/conversations/{id...}", self.conversation),
            Route("GET", "/audit", self.audit),
            Route("POST", "/role", self.wear),
            Route("GET", "/secrets", self.secrets),
            *Attempts(self._from, self._page).routes(),
            *Queue(self._from, self._access, self._page).routes(),
            *Tokens(self._from, self._access, self._page).routes(),
        ]

    def decision(self, asked: Asked) -> Response:
        """Show one decision: why, what would allow it, and what else this client was refused."""
        row = told(self._from.decision(asked.token, asked.params["id"]), self._from.policy())
        row["reason"] = str(query.why(row))
        question = _question(row)
        found = explain(self._from.policy(), question) if question else None
        others: list[query.Blocked] = []
        if row["client"]:
            wanted = _of_client(row, scope(asked.token))
            with self._from.reader.database() as database:
                others = query.summary(database, wanted, _OTHERS + 1, counted=_RECENT)
        this = (row["host"], row["port"], row["reason"])
        now = str(found.decision.would_reason or found.decision.reason) if found else row["reason"]
        judged = row["stage"] in ("connect", "request") and row["reason"] in _BY_RULES
        passed = row["verdict"] == "allow" and not row["would_deny"]
        return self._page(
            "decision.html",
            asked,
            section="blocked",
            row=row,
            trace=list(views.told(found)) if found and judged else [],
            changed=now if judged and now != row["reason"] else None,
            passed=passed,
            cures=views.cures(self._from.policy(), question, Reason(row["reason"])) if question and not passed else [],
            who=_who(row),
            others=[_line(other) for other in others if (other.host, other.port, other.reason) != this],
            facts=_facts(row),
            wish=askable(row) if now == row["reason"] and not passed else None,
            may=asked.token.role in CHANGING,
            opens=takes_grants(self._from.policy(), row["group"] or ""),
            until=UNTIL,
            usual=USUAL,
        )

    def groups(self, asked: Asked) -> Response:
        """List the groups of the scope."""
        policy, state = self._from.policy(), self._from.state
        searches = self._from.searches_today()
        rows = [
            views.group_row(policy.groups[path], state.web_search(path), state.toggles, searches)
            for path in self._paths(asked)
        ]
        return self._page("groups.html", asked, section="groups", groups=rows)

    def group(self, asked: Asked) -> Response:
        """Show a group: what it allows and why, and its web search."""
        found = asked.query("saved")
        group, state = self._from.group(asked.token, asked.params["path"]), self._from.state
        page = views.group_page(group, state.web_search(group.path), state.toggles, self._from.searches_today())
        return self._page("group.html", asked, section="groups", group=page, saved="saved" in found)

    def set_web_search(self, asked: Asked) -> Response:
        """Turn a group's web search on or off, from a form."""
        form = asked.request.form()
        self._access.check_form(asked.request, form)
        if form.get("enabled") not in ("true", "false"):
            raise Problem(400, "the form is not complete")
        path = asked.params["path"]
        self._from.set_web_search(asked, path, form["enabled"] == "true")
        return redirect(f"/groups/{quote(path)}?saved=1")

    def conversations(self, asked: Asked) -> Response:
        """List the conversations that searched or opted in."""
        found = asked.query("cursor")
        after = ask.read_cursor(found["cursor"]) if "cursor" in found else None
        with self._from.reader.database() as database:
            rows = receipts.conversations(database, scope(asked.token), _ROWS + 1, after)
        last = rows[_ROWS - 1] if len(rows) > _ROWS else None
        return self._page(
            "conversations.html",
            asked,
            section="talk",
            rows=[{**_fields(row), "time": rfc3339(row.time_ms / 1000)} for row in rows[:_ROWS]],
            next_cursor=ask.write_cursor((last.time_ms, last.conversation)) if last else None,
            query="",
        )

    def conversation(self, asked: Asked) -> Response:
        """Show a conversation: its receipts, its opt-ins, and what was blocked in it."""
        group = asked.query("group").get("group")
        if group is not None:
            asked.token.demand(group)
        name = ask.conversation(asked.params["id"])
        opt_ins = [each for each in self._from.state.opt_ins(name) if asked.token.covers(each.group)]
        with self._from.reader.database() as database:
            blocked = query.summary(database, Filters(scope=scope(asked.token), conversation=name), _ROWS)
        return self._page(
            "conversation.html",
            asked,
            section="talk",
            conversation=name,
            receipts=[receipt.as_json() for receipt in self._from.receipts(asked.token, name, group)],
            opt_ins=[{**_fields(each), "time": rfc3339(each.time)} for each in opt_ins],
            blocked=[_line(row) for row in blocked],
        )

    def audit(self, asked: Asked) -> Response:
        """List audit events, and say whether the chain is whole."""
        found = asked.query("cursor")
        after = ask.read_cursor(found["cursor"]) if "cursor" in found else None
        with self._from.reader.database() as database:
            rows = audit_query.listed(database, audit_query.AuditFilters(scope=scope(asked.token)), _ROWS + 1, after)
        last = rows[_ROWS - 1] if len(rows) > _ROWS else None
        return self._page(
            "audit.html",
            asked,
            section="audit",
            rows=rows[:_ROWS],
            chain=_chain(self._check_chain()),
            next_cursor=ask.write_cursor((milliseconds(last["created_at"]), last["id"])) if last else None,
            query="",
        )

    def secrets(self, asked: Asked) -> Response:
        """List secrets, where they are set, and who used them; of a group, or of a conversation."""
        found = asked.query("group", "conversation", form=True)
        holdings = Holdings(self._from)
        wanted = holdings.wanted(asked, found)
        with self._from.reader.database() as database:
            used = uses(database, wanted)
            rows = holdings.held(database, wanted, used)
        about = " ".join(f"of the {name} {text}" for name, text in found.items())
        return self._page(
            "secrets.html", asked, section="secrets", rows=rows, uses=used[:_ROWS], total=len(used), about=about
        )

    def sign_in(self, way: str | None, problem: Problem | None = None) -> Response:
        """Show the form that asks for a token, and the way to the provider of identities where there is one."""
        status, detail = (200, None) if problem is None else (problem.status, problem.detail)
        answer = self._render("login.html", status, problem=detail, way=way)
        answer.headers.update(problem.headers if problem else {})
        return answer

    def wear(self, asked: Asked) -> Response:
        """Put another of a person's roles in force, from a form."""
        form = asked.request.form()
        self._access.check_form(asked.request, form)
        if form.get("role") not in asked.token.hats:
            raise Problem(403, "you have no such role")
        return redirect("/", self._access.wear(asked.request, asked.token, form["role"]))

    def problem(self, problem: Problem) -> Response:
        """Show an error."""
        title = {403: "Not permitted", 404: "Not found", 409: "Locked"}.get(problem.status, "This did not work")
        return self._render("problem.html", problem.status, title=title, detail=problem.detail)

    def _paths(self, asked: Asked) -> list[str]:
        return sorted(path for path in self._from.policy().groups if asked.token.covers(path))

    def _page(self, template: str, asked: Asked, **values: Any) -> Response:
        return self._render(template, 200, token=asked.token, csrf=self._access.csrf(asked.request), **values)

    def _render(self, template: str, status: int, **values: Any) -> Response:
        text = templates().get_template(template).render(**values)
        return Response(status, text.encode("utf-8", "backslashreplace"), HTML, dict(SECURITY))


_BY_RULES = (
    "rule",
    "rule_expired",
    "no_rule",
    "denied_by_rule",
    "port_not_allowed",
    "method_not_allowed",
    "path_not_allowed",
)


def wants_html(request: OpsRequest) -> bool:
    """Tell whether an error should be a page."""
    return not request.path.startswith("/api/") and "text/html" in (request.header("accept") or "")


def _question(row: Record) -> Question | None:
    """Return the question that a record answered, or None if its host cannot be read."""
    method = row["method"] if row["stage"] == "request" else None
    return question_about(row["group"], row["host"], row["port"], method=method, path=row["path"], scheme=row["scheme"])


def _who(row: Record) -> dict[str, str]:
    """Return the filter of a client: who it is, if that is known, else where it connects from."""
    if row["subject"]:
        return {"subject": row["subject"]}
    return {"client": row["client_name"] or row["client"]}


def _of_client(row: Record, within: str | None) -> Filters:
    found = _who(row)
    return Filters(scope=within, client=found.get("client"), subject=found.get("subject"))


def _facts(row: Record) -> list[tuple[str, Any]]:
    """Return what is known of a decision, with names for people; what is unknown is left out."""
    rule = row["rule"]
    facts = (
        ("Decision", row["id"]),
        ("Time", row["time"]),
        ("Attempts", f"{row['count']:,}, the last {row['last_seen']}" if row["count"] > 1 else None),
        ("Group", row["group"]),
        ("Client", row["client"]),
        ("Client name", row["client_name"]),
        ("Subject", row["subject"]),
        *((f"Claim {name}", str(value)) for name, value in (row["claims"] or {}).items()),
        ("Redirected from", row["redirected_from"]),
        ("Conversation", row["conversation"]),
        ("User agent", row["user_agent"]),
        ("Request", " ".join(filter(None, (row["method"], row["scheme"])))),
        ("Path", row["path"]),
        ("Server name", row["sni"]),
        ("Address", row["address"]),
        ("Stage", row["stage"]),
        ("Lane", row["lane"]),
        ("Rule", f"{rule['pattern']} ({rule['file']}:{rule['line']})" if rule else None),
        ("Policy generation", row["generation"]),
        ("Status", row["status"]),
        ("Trace", row["trace_id"]),
        ("Proxy", row["instance"]),
    )
    return [(name, value) for name, value in facts if value]


def _chain(report: verify.ChainReport | None) -> ChainStatus:
    if report is None:
        return ChainStatus(None, "Load the page again in a moment.")
    verified = f"{report.rows:,} rows were verified: new ones now, older ones within the hour."
    return ChainStatus(report.ok, verified if report.ok else " ".join(report.problems[:3]))


def _line(row: query.Blocked) -> dict[str, Any]:
    return {**_fields(row), "first_seen": row.first, "last_seen": row.last}


def _fields(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__slots__}
