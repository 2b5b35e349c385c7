"""Incremental readers of response bodies: server-sent events, JSON arrays, JSON lines, one JSON value.

They read on the side: nothing waits for them, and what they cannot hold they give up on (`lost`) instead of growing.
"""

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, Protocol

from outward.search.jsonbody import MOST_VALUES, crowded

# The longest event, line or document that is read; larger ones are passed on and noted as not seen.
MAX_PIECE = 16 << 20


class JsonStream(Protocol):
    """Turns bytes into JSON values as they become complete."""

    @property
    def lost(self) -> bool:
        """Whether something was too large to be read."""

    @property
    def held(self) -> int:
        """How much is kept of what is not complete, in bytes or characters."""

    def feed(self, data: bytes) -> Iterator[Any]:
        """Yield the values that these bytes complete."""

    def finish(self) -> Iterator[Any]:
        """Yield what the end of the body completes."""


class _Values:
    """Reads JSON values.

    Attributes:
        lost: one held too many values to be read.
    """

    def __init__(self) -> None:
        self.lost = False

    def of(self, text: str) -> Any:
        """Return a JSON value, or None for what is not JSON (`[DONE]`, comments, keep-alives)."""
        if len(text) > MOST_VALUES and crowded(text.encode("utf-8", "replace")):
            self.lost = True
            return None
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return None


class _Lines:
    """Splits text into lines at LF, CRLF or CR, whatever the chunks (WHATWG HTML 9.2.6)."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._parts: list[str] = []
        self._held = 0
        self._after_cr = False
        self.lost = False

    def feed(self, data: bytes, *, final: bool = False) -> Iterator[str]:
        text = self._decoder.decode(data, final)
        if self._after_cr and text:
            self._after_cr = False
            text = text.removeprefix("\n")
        if not text:
            return
        self._after_cr = text.endswith("\r")
        *lines, rest = re.split("\r\n|\n|\r", text)
        for line in lines:
            yield "".join((*self._parts, line))
            self._parts, self._held = [], 0
        self._keep(rest)

    def _keep(self, rest: str) -> None:
        if not rest:
            return
        if self._held + len(rest) > MAX_PIECE:
            self.lost, self._parts, self._held = True, [], 0
            return
        self._parts.append(rest)
        self._held += len(rest)

    @property
    def held(self) -> int:
        return self._held

    def rest(self) -> str:
        """Return the unfinished last line."""
        return "".join(self._parts)


class SseReader:
    """Reads the `data` of server-sent events."""

    def __init__(self) -> None:
        self._lines, self._values = _Lines(), _Values()
        self._data: list[str] = []
        self._held = 0
        self._overflowed = False

    @property
    def lost(self) -> bool:
        """Whether something was too large to be read."""
        return self._overflowed or self._lines.lost or self._values.lost

    @property
    def held(self) -> int:
        """How many characters are kept of an event that is not complete."""
        return self._held + self._lines.held

    def feed(self, data: bytes) -> Iterator[Any]:
        """Yield the values of the events that these bytes complete."""
        yield from self._events(self._lines.feed(data))

    def finish(self) -> Iterator[Any]:
        """Yield a last event without its empty line: some clients read it, so it is judged."""
        yield from self._events(self._lines.feed(b"", final=True))
        yield from self._events(iter((self._lines.rest(), "")))

    def _events(self, lines: Iterator[str]) -> Iterator[Any]:
        for line in lines:
            if not line:
                value = self._values.of("\n".join(self._data)) if self._data else None
                self._data, self._held = [], 0
                if value is not None:
                    yield value
                continue
            field, _, value = line.partition(":")
            if field == "data":
                self._take(value.removeprefix(" "))

    def _take(self, text: str) -> None:
        self._held += len(text)
        if self._held > MAX_PIECE:
            self._overflowed, self._data, self._held = True, [], 0
        else:
            self._data.append(text)


class LinesReader:
    """Reads JSON lines."""

    def __init__(self) -> None:
        self._lines, self._values = _Lines(), _Values()

    @property
    def lost(self) -> bool:
        """Whether something was too large to be read."""
        return self._lines.lost or self._values.lost

    @property
    def held(self) -> int:
        """How many characters are kept of a line that is not complete."""
        return self._lines.held

    def feed(self, data: bytes) -> Iterator[Any]:
        """Yield the values of the lines that these bytes complete."""
        yield from (value for line in self._lines.feed(data) if (value := self._values.of(line)) is not None)

    def finish(self) -> Iterator[Any]:
        """Yield the value of a last line without an end."""
        yield from (value for line in self._lines.feed(b"", final=True) if (value := self._values.of(line)) is not None)
        last = self._values.of(self._lines.rest())
        if last is not None:
            yield last


class DocumentReader:
    """Reads a body that is one JSON value, or one array whose elements arrive one after the other."""

    _STRUCTURE = re.compile(rb'["\\{}\[\],]')

    def __init__(self) -> None:
        self._values = _Values()
        self._piece = bytearray()
        self._scanned = 0
        self._depth = 0
        self._array: bool | None = None
        self._in_string = False
        self._escaped = -1
        self._ended = self._overflowed = False

    @property
    def lost(self) -> bool:
        """Whether something was too large to be read."""
        return self._overflowed or self._values.lost

    @property
    def held(self) -> int:
        """How many bytes are kept of an element, or of the document."""
        return len(self._piece)

    def feed(self, data: bytes) -> Iterator[Any]:
        """Yield the array elements that these bytes complete."""
        if self._overflowed or self._ended:
            return
        self._piece += data
        if self._array is None:
            start = self._piece.lstrip(b"\xef\xbb\xbf \t\r\n")
            if not start:
                self._piece.clear()
                return
            self._array = start.startswith(b"[")
            if self._array:
                self._piece = start[1:]
        if self._array:
            yield from self._elements()
        if len(self._piece) > MAX_PIECE:
            self._overflowed, self._piece = True, bytearray()

    def finish(self) -> Iterator[Any]:
        """Yield the whole value where the body was no array, or the last element of an array that was cut off."""
        text = bytes(self._piece).decode("utf-8", "replace").removeprefix("\ufeff")
        value = self._values.of(text) if text else None
        self._piece = bytearray()
        if value is not None:
            yield value

    def _elements(self) -> Iterator[Any]:
        begin = 0
        for match in self._STRUCTURE.finditer(self._piece, self._scanned):
            at, sign = match.start(), match[0]
            if self._in_string:
                self._inside(at, sign)
            elif sign == b'"':
                self._in_string = True
            elif sign in b"{[":
                self._depth += 1
            elif sign in b"}]" and self._depth:
                self._depth -= 1
            elif self._depth == 0:  # a comma between elements, or the end of the array
                yield from self._element(begin, at)
                begin, self._ended = at + 1, sign != b","
                if self._ended:
                    break
        self._escaped -= begin
        self._scanned = len(self._piece) - begin
        del self._piece[: None if self._ended else begin]

    def _inside(self, at: int, sign: bytes) -> None:
        """Follow a string: a backslash takes the next byte with it."""
        if at == self._escaped:
            return
        if sign == b"\\":
            self._escaped = at + 1
        elif sign == b'"':
            self._in_string = False

    def _element(self, begin: int, end: int) -> Iterator[Any]:
        value = self._values.of(bytes(self._piece[begin:end]).decode("utf-8", "replace"))
        if value is not None:
            yield value


def reader_for(content_type: str) -> JsonStream | None:
    """Return the reader for a response's media type, or None for what is no JSON."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "text/event-stream":
        return SseReader()
    if kind in ("application/x-jsonl", "application/jsonl", "application/x-ndjson", "application/x-jsonlines"):
        return LinesReader()
    if kind == "application/json" or kind.endswith("+json"):
        return DocumentReader()
    return None
