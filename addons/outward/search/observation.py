"""Observation of one response: bytes pass through while they are read on the side.

Two ways: `feed` passes every chunk on as it came; `whole` replaces a response that is filtered exactly or that may be
cut before anything was sent. Never waits, and gives up reading rather than growing.
"""

import re
from collections.abc import Container, Mapping
from typing import Any

from outward.core.model import OnViolation
from outward.search.adapter import Adapter
from outward.search.evidence import SearchEvidence
from outward.search.inflate import EncodingError, Inflater, decompress
from outward.search.jsonbody import JsonBodyError, decode, encode
from outward.search.request import GovernedRequest
from outward.search.results import filter_events, filter_json, filter_tool_results
from outward.search.streams import MAX_PIECE, SseReader, reader_for

# Plain bytes that are read of one response, and of one that is filtered as a whole.
MAX_READ = 256 << 20
MAX_WHOLE = 32 << 20
_LONGEST_BOUNDARY = 4  # bytes
_BOUNDARY = re.compile(rb"\r\n\r\n|\n\n|\r\r")


class Observation:
    """Reads one response.

    Attributes:
        whole: whether the response must be collected and given to `replace` before it is passed on.
        turn: the request that it answers.
        seen: what was found so far.
        was_cut: whether the stream was ended because of a source outside the allowlist.
    """

    def __init__(
        self, adapter: Adapter, turn: GovernedRequest, headers: Mapping[str, str], counted: Container[str]
    ) -> None:
        self.seen = SearchEvidence(turn.scope, counted)
        self.was_cut = False
        self._adapter, self.turn = adapter, turn
        self._encoding = headers.get("content-encoding", "")
        self._type = headers.get("content-type", "application/json")
        self._reader = reader_for(self._type)
        self._observer = adapter.observer(turn, self.seen)
        self._cuts = turn.settings.on_violation is OnViolation.CUT and (turn.searching or turn.watch)
        self._streams = isinstance(self._reader, SseReader)
        self.whole = not self._streams and (turn.filtered or self._cuts)
        self._held = bytearray()
        self._understood = False  # whether anything of the body could be read
        try:
            self._inflater: Inflater | None = Inflater(self._encoding, MAX_READ)
        except EncodingError:
            self._inflater, self.seen.incomplete = None, True

    @property
    def early(self) -> bool:
        """Whether this answer was asked for while the vendor is at work: a later one will tell the whole."""
        return self.turn.watch and self.seen.at_work and not self._streams

    @property
    def news(self) -> bool:
        """Whether there is a search to tell of, run or refused, that no earlier answer told."""
        seen = self.seen
        return bool(seen.searches or seen.refused or ((seen.sources or seen.citations) and not seen.repeated))

    @property
    def encoded(self) -> bool:
        """Whether the vendor encoded the response although identity was asked for."""
        return self._encoding.strip().lower() not in ("", "identity")

    def feed(self, chunk: bytes) -> bytes:
        """Read a chunk and return the bytes to pass on now."""
        if self.was_cut:
            return b""
        if self.turn.filtered:
            filtered = filter_events(self._complete_events(chunk), self._filter_message)
            self._read(filtered)
            return filtered if len(self._held) <= MAX_PIECE else filtered + self.give_up()
        if self._inflater is not None:
            try:
                self._read(self._inflater.feed(chunk))
            except EncodingError:
                self._inflater, self.seen.incomplete = None, True
        if not self._cuts:
            return chunk
        if self.seen.violated:
            self.was_cut = True
            return self._adapter.cut("a search source lies outside the allowlist (source_outside_allowlist)")
        if self._inflater is None or self._lost:  # what cannot be read might hold anything
            return self.give_up()
        return self._complete_events(chunk)

    @property
    def held(self) -> int:
        """How much is kept of what is not complete, in bytes or characters."""
        return len(self._held) + (0 if self._reader is None else self._reader.held)

    def give_up(self) -> bytes:
        """Read no more and forget what is held; where it may not go on unread, cut it and return the last words."""
        self._reader, self._inflater, self.seen.incomplete = None, None, True
        self._held.clear()
        if not (self._cuts or self.turn.filtered):
            return b""
        self.was_cut = True
        return self._adapter.cut("the response cannot be read, so its sources cannot be judged")

    def _complete_events(self, chunk: bytes) -> bytes:
        """Pass whole events only, so that a cut never leaves half of one."""
        if self.encoded:
            return chunk
        begin = max(0, len(self._held) - _LONGEST_BOUNDARY + 1)  # what is held already has been looked at
        self._held += chunk
        at = max((match.end() for match in _BOUNDARY.finditer(self._held, begin)), default=0)
        passed = bytes(self._held[:at])
        del self._held[:at]
        return passed

    @property
    def _lost(self) -> bool:
        return self._reader is not None and self._reader.lost

    def finish(self, *, aborted: bool = False) -> bytes:
        """End the reading and return what was still held back.

        Args:
            aborted: whether client or vendor left before the end.
        """
        reader, observer = self._reader, self._observer
        if reader is not None and observer is not None:
            for value in reader.finish():
                self._understood = True
                observer.value(value)
            self.seen.incomplete = self.seen.incomplete or aborted or reader.lost or not observer.complete
            if self.seen.incomplete:
                self.seen.left()
        else:
            self.seen.incomplete = self.seen.incomplete or aborted or observer is not None
        held, self._held = bytes(self._held), bytearray()
        unfit = self._cuts and (self.seen.violated or self._lost)
        return b"" if self.was_cut or self.turn.filtered or unfit else held

    def replace(self, body: bytes) -> bytes | None:
        """Return a whole response as it may be passed on, without content encoding; None if it may not be."""
        try:
            plain = decompress(body, self._encoding, MAX_WHOLE)
            if self.turn.filtered:
                plain = self._filter(plain)
        except (EncodingError, JsonBodyError):
            self.seen.incomplete = True
            return None
        self._read(plain)
        self.finish()
        if (
            self._cuts and plain.strip() and (self._lost or not self._understood)
        ):  # what cannot be read might hold anything
            return None
        if self._cuts and self.seen.violated:
            self.was_cut = True
            return None
        return plain

    def _filter(self, plain: bytes) -> bytes:
        if self.turn.call.adapter == "mcp":
            value = decode(plain) if plain.strip() else None
            self._filter_message(value)
            return encode(value) if plain.strip() else plain
        value = decode(plain)
        filter_json(value, self._permits)
        return encode(value)

    def _filter_message(self, message: Any) -> None:
        if self.turn.call.adapter == "mcp":
            filter_tool_results(message, self._permits)
        else:
            filter_json(message, self._permits)

    def _permits(self, url: str) -> bool:
        return self.turn.scope.source(url).permitted

    def _read(self, plain: bytes) -> None:
        if self._reader is None or self._observer is None:
            return
        for value in self._reader.feed(plain):
            self._understood = True
            self._observer.value(value)
