"""The values of secrets while the proxy runs: read from environment and files, set on requests, named and never shown.

Owns the values. Nothing here gives one away but `placed`, which returns the fields of a request that a rule allows.
"""

import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from outward.config.settings import SecretEntry
from outward.core.placeholders import found_in, may_hold, placeholder
from outward.core.secrets import SHORTEST, Injection, MisdirectedError, masked, placed, signs
from outward.files import read_regular
from outward.http1.head import Head
from outward.records.audit.events import secret_used
from outward.records.audit.values import AuditEvent
from outward.records.events.values import Event

_SIGN = placeholder("").encode()
_HELD = re.compile(re.escape(_SIGN) + rb"[A-Za-z0-9_-]{1,64}")
_LONGEST = len(_SIGN) + 64  # bytes of a placeholder
_MOST = 64 * 1024  # bytes of a file with a secret: no field is as long (`head_bytes`)
_HOUR = 3600
_CHOSEN = ("path", "user_agent", "conversation", "method", "host", "sni", "redirected_from", "detail")
_MOST_KNOWN = 10_000  # uses that are told apart in an hour


class SecretCounts(Protocol):
    """Where uses are counted."""

    def secret_used(self, secret: str) -> None:
        """Count a request that a secret was set on."""

    def secret_misdirected(self, secret: str) -> None:
        """Count a request that was refused for a secret's placeholder."""

    def secret_in_body(self, secret: str) -> None:
        """Count a request whose body held a placeholder."""


class SecretError(ValueError):
    """A secret has no value; the text names it and says what is wrong, and holds nothing of a value."""


class Secrets:
    """What the proxy sets on requests. Belongs to the event loop's thread.

    Attributes:
        values: by name. Never print, log or record it.
        tell: takes the audit event of a use; the same use is told once an hour.
        notify: takes the secret and the event of the same uses.
        hide: called before values are read.
    """

    def __init__(self, counts: SecretCounts) -> None:
        """Begin without any."""
        self.values: Mapping[str, str] = {}
        self.tell: Callable[[AuditEvent], None] = lambda _event: None
        self.notify: Callable[[str, Event], None] = lambda _secret, _event: None
        self.hide: Callable[[], None] = lambda: None
        self._counts = counts
        self._entries: tuple[SecretEntry, ...] = ()
        self._signs: re.Pattern[str] | None = None
        self._told: dict[tuple[object, ...], None] = {}
        self._hour = 0

    def __repr__(self) -> str:
        """Names alone."""
        return f"Secrets({', '.join(self.values)})"

    @property
    def entries(self) -> tuple[SecretEntry, ...]:
        """What the configuration in force says of them."""
        return self._entries

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that values are read from."""
        return tuple(each.file for each in self._entries if each.file is not None)

    def use(self, entries: Iterable[SecretEntry], environ: Mapping[str, str] | None = None) -> None:
        """Read the values of entries, and put them in force as a whole.

        Raises:
            SecretError: one has no value; those in force stay.
        """
        entries = tuple(entries)
        if entries:
            self.hide()
        values = {each.name: _value(each, os.environ if environ is None else environ) for each in entries}
        self._entries, self.values, self._signs = entries, values, signs(values.values())

    def again(self) -> None:
        """Read the values once more.

        Raises:
            SecretError: as `use`.
        """
        self.use(self._entries)

    def placed(self, injections: Collection[Injection], head: Head, raw: bytes) -> dict[str, str]:
        """Return the fields to set on an allowed request, whose head was received as `raw`.

        Raises:
            MisdirectedError: a placeholder stands where it must not, or another credential in its place.
        """
        if not may_hold(raw):
            return placed(injections, head.fields, self.values, clean=True) if injections else {}
        secret = found_in(head.target, self.values)
        if secret is not None:
            raise MisdirectedError("the URL", secret)
        return placed(injections, head.fields, self.values)

    def astray(self, head: Head, placed: Iterable[Injection]) -> MisdirectedError | None:
        """Return what tells of a placeholder in a request that is refused; None if it belongs there, or there is none.

        Args:
            head: of the request.
            placed: what is set on other requests to the same host, whose fields may hold one.
        """
        if not self.values or not may_hold("\n".join((head.target, *map(":".join, head.fields))).encode()):
            return None
        own = {each.header for each in placed}
        texts = (
            ("the URL", head.target),
            *((f"the field {name}", f"{name}: {value}") for name, value in head.fields if name not in own),
        )
        for where, text in texts:
            secret = found_in(text, self.values)
            if secret is not None:
                return MisdirectedError(where, secret)
        return None

    def conceal(self, event: Event) -> None:
        """Put placeholders where a client that knows a value has written it, so that no record holds it."""
        if self._signs is None:
            return
        texts = {name: text for name in _CHOSEN if (text := getattr(event, name))}
        if self._signs.search("\n".join(texts.values()).lower()) is None:
            return
        small = {name: value.lower() for name, value in self.values.items()}  # as hosts are
        for name, text in texts.items():
            setattr(event, name, masked(masked(text, self.values), small))

    def misdirected(self, error: MisdirectedError, event: Event) -> None:
        """Tell an event where a placeholder, or another credential, stood; and count whose it was."""
        event.detail = str(error)
        if error.secret is not None:
            self._counts.secret_misdirected(error.secret)

    def used(self, names: Iterable[str], event: Event) -> None:
        """Tell that secrets were set on a request: who, for which host; once an hour for the same.

        Clients choose conversations, and names below a wildcard: beyond a bound, uses are told by group and secret.
        """
        hour = int(time.time() // _HOUR)
        if hour != self._hour:
            self._hour, self._told = hour, {}
        for name in names:
            self._counts.secret_used(name)
            key: tuple[object, ...] = (name, event.group, event.client, event.conversation, event.host, event.port)
            if key not in self._told and len(self._told) >= _MOST_KNOWN:
                key = (name, event.group)
            if key not in self._told:
                self._told[key] = None
                self.tell(secret_used(name, event))
                self.notify(name, event)

    def lookout(self) -> "Lookout | None":
        """Return what looks for placeholders in a body that goes by; None where there are no secrets."""
        return Lookout(self.values, self._counts) if self.values else None


class Lookout:
    """Counts the secrets whose placeholders a body holds, each once, also where a piece of it ends within one."""

    __slots__ = ("_counts", "_end", "_found", "_names")

    def __init__(self, names: Iterable[str], counts: SecretCounts) -> None:
        self._names, self._counts = names, counts
        self._end = b""
        self._found: set[str] = set()

    def look(self, data: bytes, *, last: bool = False) -> None:
        """Look at the next piece; `last` if nothing follows it."""
        text = self._end + data
        self._end = text[-_LONGEST:]
        if _SIGN not in text:
            return
        for match in _HELD.finditer(text):
            if last or match.end() < len(text):  # else its name may go on
                found = found_in(match[0].decode(), self._names)
                if found is not None and found not in self._found:
                    self._found.add(found)
                    self._counts.secret_in_body(found)


def check(entry: SecretEntry, environ: Mapping[str, str]) -> None:
    """Tell nothing where a secret has a value that can be set.

    Raises:
        SecretError: it has none.
    """
    _value(entry, environ)


def _value(entry: SecretEntry, environ: Mapping[str, str]) -> str:
    if entry.file is None:
        text, where = environ.get(entry.env or "", ""), f"the variable {entry.env}"
    else:
        where = f"the file {entry.file}"
        try:
            text = read_regular(entry.file, _MOST).decode("ascii").strip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not ASCII"
            raise SecretError(f"the secret {entry.name}: {where} cannot be read: {why}") from None
    if not text:
        raise SecretError(f"the secret {entry.name}: {where} is empty")
    if not text.isascii() or not text.isprintable():
        raise SecretError(f"the secret {entry.name}: {where} holds what no header can hold")
    if text != text.strip():
        raise SecretError(f"the secret {entry.name}: {where} begins or ends with a blank, which no header keeps")
    if len(text) < SHORTEST:
        raise SecretError(f"the secret {entry.name}: {where} holds fewer than {SHORTEST} characters: that is no secret")
    return text
