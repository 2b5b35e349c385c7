"""Requests, responses and routes of the administrator's side, without any socket.

Owns the shape of a request, of an answer and of an error (problem+json, RFC 9457). Knows nothing of what is served.
"""

import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

JSON = "application/json"
PROBLEM = "application/problem+json"
MAX_FIELDS = 50  # of a query or a form

_TITLES = {
    400: "Bad request",
    401: "A token is needed",
    403: "Not permitted",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Too large",
    415: "Unsupported media type",
    421: "Not for this host",
    429: "Too many requests",
    503: "Not available",
}

type Body = bytes | AsyncIterator[bytes]


class Problem(Exception):  # noqa: N818 - the word of RFC 9457
    """An error that is the client's to read.

    Attributes:
        status: of HTTP.
        detail: one sentence; never a secret or an internal.
        headers: additional fields of the answer.
    """

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})


@dataclass(frozen=True, slots=True)
class OpsRequest:
    """One request.

    Attributes:
        method: as sent, upper case.
        target: origin-form target as sent.
        headers: field names in lower case, every field in its order.
        body: whole body; bounded by the listener.
        peer: address of the client.
        secure: whether the listener speaks TLS.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = field(default=b"", repr=False)
    peer: str = ""
    secure: bool = False

    @property
    def path(self) -> str:
        """The path as sent, without query."""
        return self.target.partition("?")[0]

    def header(self, name: str) -> str | None:
        """Return the value of a field; the values of a repeated one joined by commas (RFC 9110 5.3)."""
        values = [value for key, value in self.headers if key == name]
        return ", ".join(values) if values else None

    def query(self) -> dict[str, str]:
        """Return the query's parameters.

        Raises:
            Problem: when it is no query, or a parameter comes twice.
        """
        return _pairs(self.target.partition("?")[2])

    def form(self) -> dict[str, str]:
        """Return a form's fields.

        Raises:
            Problem: when the body is no form.
        """
        if (self.header("content-type") or "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
            raise Problem(415, "send a form")
        return _pairs(self.body.decode("utf-8", "replace"))

    def json(self) -> dict[str, Any]:
        """Return the JSON object of the body.

        Raises:
            Problem: when the body is none.
        """
        if (self.header("content-type") or JSON).partition(";")[0].strip().lower() != JSON:
            raise Problem(415, f"send {JSON}")
        try:
            value = json.loads(self.body, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            raise Problem(400, "the body is not JSON") from error
        if not isinstance(value, dict):
            raise Problem(400, "the body is not a JSON object")
        return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that stands twice: whoever reads the request beside us may take the other."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key that stands twice")
    return found


def _pairs(text: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError as error:
        raise Problem(400, "the parameters cannot be read") from error
    if len(pairs) != len(dict(pairs)):
        raise Problem(400, "a parameter comes twice")
    return dict(pairs)


@dataclass(slots=True)
class Response:
    """One answer; a body that is an iterator is streamed.

    Attributes:
        cookies: values of Set-Cookie.
        done: called when the answer is written or given up, a streamed body that nobody began to read included.
    """

    status: int = 200
    body: Body = b""
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    cookies: tuple[str, ...] = ()
    done: Callable[[], None] = lambda: None


def as_json(value: Any) -> Response:
    """Answer with JSON."""
    return Response(200, json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace"))


def as_problem(problem: Problem) -> Response:
    """Answer with an error."""
    title = _TITLES.get(problem.status, "Error")
    body = {"type": "about:blank", "title": title, "status": problem.status, "detail": problem.detail}
    return Response(problem.status, json.dumps(body).encode(), PROBLEM, dict(problem.headers))


def redirect(location: str, *cookies: str) -> Response:
    """Answer with 303, so that the browser asks again with GET."""
    return Response(303, b"", "text/plain", {"Location": location}, cookies)


@dataclass(frozen=True, slots=True)
class Route[Handler: Callable[..., Any]]:
    """A method, a path and who answers.

    A path's `{name}` takes one segment and `{name...}` takes one or more, raw slashes included.
    """

    method: str
    path: str
    handler: Handler


class Router[Handler: Callable[..., Any]]:
    """Finds the handler of a method and a path."""

    def __init__(self, routes: Iterable[Route[Handler]]) -> None:
        self._routes = [(route, route.path.strip("/").split("/")) for route in routes]

    def find(self, method: str, path: str) -> tuple[Handler, dict[str, str]]:
        """Return the handler and the path's parameters, decoded.

        Raises:
            Problem: 404 for an unknown path, 405 for an unknown method.
        """
        segments = path.strip("/").split("/")
        others: list[tuple[int, str]] = []
        for route, pattern in self._routes:
            found = _match(pattern, segments)
            if found is None:
                continue
            if route.method == method or (route.method == "GET" and method == "HEAD"):
                return route.handler, found
            others.append((sum(not part.startswith("{") for part in pattern), route.method))
        if not others:
            raise Problem(404, "there is nothing here")
        closest = max(literal for literal, _ in others)
        allowed = sorted({each for literal, each in others if literal == closest})
        raise Problem(405, "this method has no meaning here", {"Allow": ", ".join(allowed)})


def _match(pattern: list[str], segments: list[str]) -> dict[str, str] | None:
    """Match a path; at most one `{name...}`, which takes what the others leave."""
    spread = next((index for index, part in enumerate(pattern) if part.endswith("...}")), None)
    if spread is None:
        return _match_each(pattern, segments) if len(pattern) == len(segments) else None
    after = len(pattern) - spread - 1
    if len(segments) <= spread + after:
        return None
    end = len(segments) - after
    middle = "/".join(segments[spread:end])
    return _match_each(
        [*pattern[:spread], pattern[spread].replace("...", ""), *pattern[spread + 1 :]],
        [*segments[:spread], middle, *segments[end:]],
    )


def _match_each(pattern: list[str], segments: list[str]) -> dict[str, str] | None:
    found: dict[str, str] = {}
    for part, segment in zip(pattern, segments, strict=True):
        if part.startswith("{"):
            if not segment:
                return None
            found[part[1:-1]] = _decoded(segment)
        elif part != segment:
            return None
    return found


def _decoded(segment: str) -> str:
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError as error:
        raise Problem(400, "the path cannot be read") from error
