"""A line for each event on standard output, of JSON unless people read it.

A reader that is slow or gone costs lines, which are counted, never traffic.
"""

import logging
import os
import select
from collections.abc import Callable

from outward.records.events.folds import Tally
from outward.records.events.templates import line_of
from outward.records.events.values import Event, Record, line, recorded, repeats_of

_log = logging.getLogger(__name__)


class LineSink:
    """Writes events to a descriptor; a worker's handler, since writing may block for ever."""

    def __init__(
        self, descriptor: int, on_loss: Callable[[int], None], as_line: Callable[[Record], bytes] | None = None
    ) -> None:
        self._descriptor, self._as_line = descriptor, as_line
        self._on_loss = on_loss
        self._broken = False

    def handle(self, events: list[Event | Tally]) -> None:
        """Write each event as one line, and one more at the end of a fold, for the attempts that none told of."""
        try:
            self._write(b"".join(map(self._line, events)))
            self._broken = False
        except OSError as error:
            if not self._broken:
                _log.error("standard output takes no events: %s", error)
            self._broken = True
            self._on_loss(len(events))

    def _line(self, event: Event | Tally) -> bytes:
        if self._as_line is not None:
            return self._as_line(told(event))
        return line_of(event) if isinstance(event, Event) else line(told(event))

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:  # whoever shares the descriptor may have made it non-blocking
                select.select([], [self._descriptor], [])


def told(item: Event | Tally) -> Record:
    """Return what a line says: an event, or at the end of a fold the attempts that no line told of."""
    return repeats_of(item.row, item.unprinted) if isinstance(item, Tally) else recorded(item)
