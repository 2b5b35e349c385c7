"""Turns of reading an HTTP/2 connection, and what waits on its streams."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from outward.http2.frames import PREFACE, Http2Error
from outward.http2.messages import Pairs
from outward.http2.session import WIDE, WIDER, WINDOW, Session
from outward.http2.told import Data, Head
from outward.proxy.inspection.http2.multiplex import ENDED, Multiplex, Part, Stream

# `:method: POST`, `:scheme: https`, `:path: /`, then `:authority: a.test`, which the table keeps (RFC 7541 B).
ASKING = b"\x83\x87\x84\x41\x06a.test"


class Parts(Stream):
    """A stream that keeps what it takes."""

    def __init__(self, http2: Session) -> None:
        super().__init__(1)
        self.taken: list[Part] = []
        self._http2 = http2

    @property
    def http2(self) -> Session:
        return self._http2

    def take(self, part: Part) -> None:
        self.taken.append(part)

    def moved(self, left: int) -> None:
        raise NotImplementedError

    def was_reset(self, code: int) -> None:
        raise NotImplementedError


class Heads(Multiplex[Parts]):
    """A connection that counts the heads that it takes; what is to be done later is done by the test."""

    def __init__(self, wire: Any) -> None:
        super().__init__(wire, Session(4096, 0.0, client=False))
        self.later: list[Any] = []
        self.heads = 0
        self.answer: Pairs = []
        self.silent_at: int | None = None

    @property
    def connection(self) -> Any:
        return SimpleNamespace(soon=self.later.append)

    def begun(self, head: Head) -> None:
        self.heads += 1
        if self.answer:
            self.http2.answer(head.stream, self.answer, reset=None)
        else:
            self.http2.reset(head.stream, 8)

    def leaving(self, last: int) -> None:
        raise NotImplementedError

    def broken(self, error: Http2Error) -> None:
        raise error

    def silenced(self) -> None:
        self.silent_at = self.heads

    def go_on(self) -> None:
        self.write()
        while self.later:
            self.later.pop()()
            self.write()


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def reading(*heads: bytes) -> list[int]:
    """Return how many heads were taken after each turn."""

    async def turns() -> list[int]:
        found = Heads(SimpleNamespace(hold=lambda _why: None, release=lambda _why: None, waiting=0))
        found.read(PREFACE + frame(4, 0, 0) + b"".join(frame(1, 5, 1 + 2 * at, each) for at, each in enumerate(heads)))
        seen = [found.heads]
        while found.later:
            found.later.pop()()
            seen.append(found.heads)
        return seen

    return asyncio.run(turns())


def test_a_turn_is_as_long_as_its_heads_are_large() -> None:
    assert reading(*[ASKING] * 20) == [15, 20]
    assert reading(*[ASKING + b"\xbe" * 160] * 8) == [6, 8]  # a byte for each field


@pytest.mark.parametrize("ends", [True, False])
def test_a_peer_that_takes_nothing_is_not_read_until_it_does_or_ends(
    ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heads are no bodies, which windows hold: answers without one would gather for ever."""
    monkeypatch.setattr("outward.proxy.inspection.http2.multiplex._BESIDE", 100)
    held: set[object] = set()

    async def asked() -> None:
        found = Heads(SimpleNamespace(hold=held.add, release=held.discard, write=lambda _data: None))
        found.answer = [(b":status", b"204")]
        found.full()
        found.read(PREFACE + frame(4, 0, 0) + b"".join(frame(1, 5, 1 + 2 * at, ASKING) for at in range(40)))
        found.go_on()
        assert (found.heads, held) == (15, {"turn"})  # one turn
        found.read(frame(1, 5, 81, ASKING))
        assert found.heads == 15
        (found.silent if ends else found.drained)()
        found.go_on()
        assert (found.heads, found.silent_at, held) == (41, 41 if ends else None, set())

    asyncio.run(asked())


def test_pieces_that_wait_are_joined_and_none_is_lost() -> None:
    http2 = Session(4096, 0.0, client=False)
    stream = Parts(http2)
    stream.pause()
    for at in range(10_000):
        stream.deliver(Data(1, b"ab", 3, ended=at == 9_999))  # padded by one byte
    assert len(stream._inbox) < 30
    assert stream.whole
    stream.hold("a reader")
    stream.resume()
    assert b"".join(each.data for each in stream.taken if isinstance(each, Data)) == b"ab" * 10_000
    assert stream.taken[-1] is ENDED
    assert stream._owed == 30_000


def windows(sent: bytes) -> dict[int, int]:
    """Return by how much a window was opened, by stream; 0 is the connection's."""
    found: dict[int, int] = {}
    while sent:
        size = int.from_bytes(sent[:3])
        if sent[3] == 8:
            stream = int.from_bytes(sent[5:9])
            found[stream] = found.get(stream, 0) + int.from_bytes(sent[9:13])
        sent = sent[9 + size :]
    return found


def test_windows_are_opened_for_those_who_read_and_the_connections_for_all() -> None:
    http2 = Session(4096, 0.0, client=False)
    streams = range(1, 41, 2)
    asks = b"".join(frame(1, 4, each, ASKING) + frame(0, 0, each, bytes(16_384)) * 2 for each in streams)
    http2.feed(PREFACE + frame(4, 0, 0) + asks)
    http2.output()
    for _told in http2.told(0.0):
        pass
    assert windows(http2.output()) == {0: WINDOW // 2}  # nobody has taken any of it
    for each in streams:
        http2.acknowledge(each, 16_384)
    wide = dict.fromkeys(streams[:WIDE], 16_384 + WIDER)
    assert windows(http2.output()) == dict.fromkeys(streams, 16_384) | wide
    http2.reset(1, 8)
    http2.acknowledge(streams[-1], 16_384)  # which has the place of the one that is over
    assert windows(http2.output()) == {streams[-1]: 16_384 + WIDER}
