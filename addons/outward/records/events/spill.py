"""Spill: a first-in, first-out queue of lines on disk, for what the store cannot take now.

Lines are in segments, `spill-<id>.jsonl`; a segment belongs to the process that holds its lock, so that several may
share a directory and a successor adopts what a killed process left. Every append is synced to disk before it returns.
A segment is deleted when all of it has been taken. The sum of the segments is bounded.
"""

import fcntl
import os
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from outward.records.events.values import new_id

SEGMENT_BYTES = 8 << 20
MAX_BYTES = 512 << 20


class SpillFullError(Exception):
    """The spill has reached its bound."""


@dataclass(slots=True)
class _Segment:
    path: Path
    descriptor: int
    size: int
    offset: int = 0  # what lies before it has been taken


class Spill:
    """Appends batches of lines and gives them back in order; thread-safe."""

    def __init__(self, directory: Path, *, max_bytes: int = MAX_BYTES, segment_bytes: int = SEGMENT_BYTES) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._segments: deque[_Segment] = deque()
        self._lock = threading.Lock()
        self.adopt()

    def __len__(self) -> int:
        """Return the bytes that wait to be taken."""
        with self._lock:
            return sum(segment.size - segment.offset for segment in self._segments)

    def adopt(self) -> None:
        """Take over the segments that no living process holds."""
        with self._lock:
            held = {segment.path for segment in self._segments}
            for path in sorted(self._directory.glob("spill-*.jsonl")):
                if path not in held and (segment := _claim(path)) is not None:
                    self._segments.append(segment)

    @property
    def fullness(self) -> float:
        """How much of the bound is taken, from 0 to 1; waits for no disk."""
        return sum(segment.size for segment in tuple(self._segments)) / self._max_bytes

    def append(self, lines: Sequence[bytes], share: float = 1.0) -> None:
        """Add lines, each with its newline, all or none of them.

        Args:
            lines: what to keep.
            share: the part of the bound that lines of this kind may fill the spill to, so that what matters more fits.

        Raises:
            SpillFullError: the bound is reached.
            OSError: the disk does not take them.
        """
        data = b"".join(lines)
        with self._lock:
            bound = int(self._max_bytes * share)
            if sum(segment.size for segment in self._segments) + len(data) > bound:
                raise SpillFullError(f"the spill holds its bound of {bound} bytes (`records.spill_bytes`)")
            segment = self._last()
            try:
                _write_all(segment.descriptor, data)
                os.fdatasync(segment.descriptor)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(segment.descriptor, segment.size)
                raise
            segment.size += len(data)

    def peek(self, limit: int) -> list[bytes]:
        """Return the oldest lines, at most about `limit` bytes of them, without taking them.

        Raises:
            OSError: the segment cannot be read.
        """
        with self._lock:
            while self._segments and self._segments[0].offset >= self._segments[0].size:
                self._discard()
            if not self._segments:
                return []
            first = self._segments[0]
            data = os.pread(first.descriptor, min(limit, first.size - first.offset), first.offset)
            if not data.endswith(b"\n"):
                data += _rest_of_line(first, first.offset + len(data))
            return data.splitlines(keepends=True)

    def take(self, count: int) -> None:
        """Forget the oldest `count` bytes, as returned by `peek`."""
        with self._lock:
            self._segments[0].offset += count
            if self._segments[0].offset >= self._segments[0].size:
                self._discard()

    def close(self) -> None:
        """Let go of the segments; what was not taken waits for the next process."""
        with self._lock:
            for segment in self._segments:
                os.close(segment.descriptor)
            self._segments.clear()

    def _last(self) -> _Segment:
        if self._segments and 0 < self._segments[-1].size < self._segment_bytes and self._segments[-1].path.exists():
            return self._segments[-1]
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._directory / f"spill-{new_id()}.jsonl"
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self._segments.append(_Segment(path, descriptor, 0))
        return self._segments[-1]

    def _discard(self) -> None:
        segment = self._segments.popleft()
        segment.path.unlink(missing_ok=True)
        os.close(segment.descriptor)


def _claim(path: Path) -> _Segment | None:
    """Lock a segment that a process left behind; a last line that it did not finish is cut off."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        size = _whole_lines(descriptor)
        os.ftruncate(descriptor, size)
    except OSError:
        os.close(descriptor)
        return None
    return _Segment(path, descriptor, size)


def _whole_lines(descriptor: int) -> int:
    """Return how many bytes of a file end with a whole line."""
    end = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - 65536)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _rest_of_line(segment: _Segment, start: int) -> bytes:
    """Return what lies between an offset and the end of its line."""
    rest = b""
    while not rest.endswith(b"\n") and start + len(rest) < segment.size:
        more = os.pread(segment.descriptor, 4096, start + len(rest))
        cut = more.find(b"\n")
        rest += more if cut < 0 else more[: cut + 1]
    return rest


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
