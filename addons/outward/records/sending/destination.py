"""Where records go that are sent on: one HTTP(S) endpoint of the operator's.

Owns the request, its deadline and what a failure means. Connects by itself: never through a proxy, least of all this
one, and follows no redirect, which could carry the token elsewhere. Names of hosts may be logged, URLs never: they may
hold secrets.
"""

import re
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from datetime import UTC
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from outward.config.settings import AuditStreamSettings
from outward.cutoff import CutHttp, CutHttps, Cutoff
from outward.files import read_regular
from outward.records.text import clean

TOKEN_HEADER, TYPE_HEADER = "X-Gitlab-Event-Streaming-Token", "X-Gitlab-Audit-Event-Type"
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2
PATIENCE = 10.0  # seconds for each step of a request
MAX_ANSWER = 1 << 16  # bytes that are read
_MOST_SAID = 200  # characters of what the other side made us say
DEADLINE = 30.0  # seconds for a request as a whole


class DeliveryError(Exception):
    """The destination did not take a batch; it will be offered again.

    Attributes:
        reason: `status`, `timeout`, `connection` or `token`.
        status: of the response, if there was one.
        retry_after: seconds that the destination asked for.
    """

    def __init__(self, reason: str, message: str, status: int | None = None, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.reason, self.status, self.retry_after = reason, status, retry_after


def trusting(trust: Sequence[str]) -> ssl.SSLContext:
    """Return the TLS context of a client that trusts `system` and the PEM files named.

    Raises:
        OSError: a file cannot be read.
    """
    context = ssl.create_default_context() if "system" in trust else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for path in trust:
        if path != "system":
            context.load_verify_locations(path)
    return context


def secret_of(settings: AuditStreamSettings, environ: Mapping[str, str]) -> Callable[[], str | None]:
    """Return what reads the shared secret: a file anew each time, so that it may be rotated.

    What it returns raises OSError or ValueError where there is no secret that a header can carry.
    """

    def read() -> str | None:
        if settings.token_file is not None:
            text = read_regular(settings.token_file).decode("ascii")
        elif settings.token_env is not None:
            text = environ.get(settings.token_env, "")
        else:
            return None
        if not (secret := text.strip()) or not secret.isascii() or not secret.isprintable():
            raise ValueError("it is empty, or holds what a header cannot")
        return secret

    return read


def secret_in(file: Path | None) -> Callable[[], str | None]:
    """Return what reads a secret from a file, anew each time; without a file there is none."""
    return secret_of(AuditStreamSettings("", token_file=file), {})


def headers_in(file: Path | None) -> Callable[[], Mapping[str, str]]:
    """Return what reads header fields from a file, `Name: value` on each line, anew each time; without one, none.

    What it returns raises OSError or ValueError where a line is no field.
    """

    def read() -> Mapping[str, str]:
        if file is None:
            return {}
        lines = [line for line in read_regular(file).decode("ascii").splitlines() if line.strip()]
        found = {}
        for number, line in enumerate(lines, 1):
            name, colon, value = line.partition(":")
            if not colon or not _NAME.fullmatch(name) or not value.strip() or not value.strip().isprintable():
                raise ValueError(f"line {number} of {file} is not `Name: value`")
            found[name] = value.strip()
        return found

    return read


class Destination:
    """An endpoint that takes records; used by one thread, but for `abort`."""

    def __init__(
        self,
        url: str,
        token: Callable[[], str | None] = lambda: None,
        *,
        context: Callable[[], ssl.SSLContext] = ssl.create_default_context,
        deadline: float = DEADLINE,
    ) -> None:
        """Prepare; nothing is opened before `post`.

        Args:
            url: `http://` or `https://`.
            token: returns the shared secret; asked for each request, so that a file may be rotated.
            context: makes the TLS context of an https destination, once.
            deadline: seconds for one request.
        """
        parts = urlsplit(url)
        self.name = parts.netloc.rpartition("@")[2]  # without a user and a password, since errors name it
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._token, self._deadline = token, deadline
        self._context = context if parts.scheme == "https" else None
        self._tls: ssl.SSLContext | None = None
        self._cutoff: Cutoff | None = None

    def post(
        self,
        bodies: Sequence[str],
        content_type: str,
        event_type: str | None,
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Deliver events, one JSON object for each line, and return once the destination has said that it has them.

        Args:
            bodies: the JSON text of each.
            content_type: of the request.
            event_type: for GitLab's header, where the request holds one event.
            more: further fields.

        Raises:
            DeliveryError: it has not, as far as is known.
        """
        headers = {
            "Content-Type": content_type,
            TYPE_HEADER: event_type or "",
            TOKEN_HEADER: self._secret() or "",
            **more,
        }
        self.send("".join(f"{each}\n" for each in bodies).encode(), headers)

    def send(self, body: bytes, headers: Mapping[str, str]) -> bytes:
        """Deliver a body and return the answer, once the destination has said that it has it.

        Args:
            body: of the request.
            headers: of the request; those without a value are left out.

        Raises:
            DeliveryError: it has not, as far as is known.
        """
        fields = {name: value for name, value in {"User-Agent": "outward", **headers}.items() if value}
        self._cutoff = Cutoff(self._deadline)
        try:
            with self._cutoff as cutoff, closing(self._connection()) as connection:
                connection.cutoff = cutoff
                connection.request("POST", self._target, body, fields)
                return _judge(connection.getresponse())
        except TimeoutError as error:
            raise DeliveryError("timeout", "no whole answer in time") from error
        except (OSError, HTTPException, ValueError) as error:
            raise DeliveryError("connection", clean(str(error), _MOST_SAID) or type(error).__name__) from error

    def abort(self) -> None:
        """End the request under way, if any; from any thread."""
        if self._cutoff is not None:
            self._cutoff.end()

    def _secret(self) -> str | None:
        try:
            return self._token()
        except (OSError, ValueError) as error:
            raise DeliveryError("token", f"the token cannot be read: {error}") from error

    def _connection(self) -> CutHttp:
        if self._context is None:
            return CutHttp(self.name, timeout=PATIENCE)
        if self._tls is None:
            self._tls = self._context()
        return CutHttps(self.name, timeout=PATIENCE, context=self._tls)


def _judge(reply: HTTPResponse) -> bytes:
    if not 200 <= reply.status < 300:
        asked = _seconds(reply.getheader("Retry-After", ""))
        raise DeliveryError("status", f"it answered {reply.status}", reply.status, asked)
    return reply.read(MAX_ANSWER)


def _seconds(text: str) -> float:
    """Read a Retry-After: seconds or a date (RFC 9110 10.2.3); 0 if it is neither."""
    if text.isascii() and text.isdigit():
        return float(text)
    with suppress(ValueError, OverflowError, TypeError):  # years and zones that no calendar has
        when = parsedate_to_datetime(text)
        return max(0.0, (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - time.time())
    return 0.0
