"""HTTP/2 sessions against whatever a peer may send: they end by our own error, and hold no more than their bounds."""

import tracemalloc
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outward.http2.frames import LONGEST, PREFACE, Code, FrameReader, Http2Error, goaway
from outward.http2.session import STREAM_WINDOW, STREAMS, WINDOW, Session
from outward.http2.told import Data, Head, Reset, Trailers

HEAD_BYTES = 4096
# `:method: POST`, `:scheme: https`, `:path: /`, then `:authority: a.test`, in the static table (RFC 7541 B).
ASKING = b"\x83\x87\x84\x41\x06a.test"


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


FRAMES = st.builds(
    frame,
    st.one_of(st.integers(0, 10), st.integers(0, 255)),
    st.integers(0, 255),
    st.one_of(st.integers(0, 9), st.integers(0, 2**32 - 1)),
    st.one_of(
        st.binary(max_size=64), st.just(ASKING), st.just(bytes(8)), st.just(bytes(LONGEST)), st.just(b"\xff" * 6)
    ),
)


def run(session: Session, data: bytes, cuts: list[int]) -> None:
    """Feed what a peer says, in pieces, and do with it what an owner may do."""
    at = 0
    for cut in [*cuts, len(data)]:
        session.feed(data[at : at + cut])
        at += cut
        for told in session.told(0.0):
            for each in told:
                if isinstance(each, Head):
                    session.reply(each.stream, [(b":status", b"200")])
                    session.send(each.stream, b"x" * 100_000)
                    session.finish(each.stream, [(b"grpc-status", b"0")] if each.ended else None)
                elif isinstance(each, Data) and len(each.data) % 2:
                    session.acknowledge(each.stream, each.size)
        assert len(session._frames._buffer) < LONGEST + 9 or session._dead
        session.pump()


@given(st.lists(FRAMES, max_size=30), st.lists(st.integers(1, 50), max_size=5), st.booleans())
def test_no_frames_bring_a_session_down_otherwise_than_by_its_own_error(
    frames: list[bytes], cuts: list[int], client: bool
) -> None:
    session = Session(HEAD_BYTES, 0.0, client=client)
    if client:
        session.open(
            [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a"), (b":path", b"/")],
            frozenset(),
            ended=True,
        )
    begin = frame(4, 0, 0, b"")
    with suppress(Http2Error):
        run(session, (b"" if client else PREFACE) + begin + b"".join(frames), cuts)
    assert len(session.output()) < 2 * WINDOW
    session.ending()
    session.pump()


@given(st.binary(max_size=2000), st.booleans())
def test_no_bytes_bring_a_session_down_otherwise_than_by_its_own_error(data: bytes, preface: bool) -> None:
    session = Session(HEAD_BYTES, 0.0, client=False)
    with suppress(Http2Error):
        run(session, (PREFACE if preface else b"") + data, [])
    session.output()


@given(st.lists(FRAMES, max_size=20), st.integers(1, 40))
def test_frames_are_the_same_however_they_come(frames: list[bytes], size: int) -> None:
    data = b"".join(frames)

    def read(pieces: list[bytes]) -> list[object]:
        reader, found = FrameReader(HEAD_BYTES, 0.0, preface=False), list[object]()
        try:
            for piece in pieces:
                reader.feed(piece)
                while (each := reader.next(0.0)) is not None:
                    found.append(each)
        except Http2Error as error:
            found.append(str(error))
        return found

    assert read([data]) == read([data[at : at + size] for at in range(0, len(data), size)])


def test_the_bounds_are_what_is_told_to_the_peer() -> None:
    said = Session(HEAD_BYTES, 0.0, client=False).output()
    settings = said[9 : 9 + int.from_bytes(said[:3])]
    told = {
        int.from_bytes(settings[at : at + 2]): int.from_bytes(settings[at + 2 : at + 6])
        for at in range(0, len(settings), 6)
    }
    assert (told[3], told[4], told[6]) == (STREAMS, STREAM_WINDOW, HEAD_BYTES)
    assert goaway(5, 0)[:5] == b"\0\0\x08\x07\0"


def begun(*, client: bool) -> Session:
    """A session whose peer has said hello, on a clock that stands still: nothing refills what may carry nothing."""
    session = Session(HEAD_BYTES, 0.0, client=client)
    session.feed((b"" if client else PREFACE) + frame(4, 0, 0, b""))
    assert [*session.told(0.0)] == [[]]
    return session


def ask(session: Session) -> int:
    fields = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"a"), (b":path", b"/")]
    return session.open(fields, frozenset(), ended=False)


def calmed(spoil: Callable[[], None]) -> None:
    """It can be done some times, then never again."""
    for _ in range(30):
        spoil()
    with pytest.raises(Http2Error) as told:
        deque(iter(spoil, ""), maxlen=0)
    assert told.value.code == Code.ENHANCE_YOUR_CALM


def test_a_destination_opens_no_streams() -> None:
    session = begun(client=True)
    ask(session)
    session.feed(frame(1, 4, 1, b"\x88") + frame(1, 4, 2, ASKING))
    with pytest.raises(Http2Error) as told:
        [*session.told(0.0)]
    assert told.value.code == Code.PROTOCOL_ERROR
    assert session.output().endswith(goaway(0, Code.PROTOCOL_ERROR))


SPOILING = {
    "DATA behind its end": frame(0, 0, 1, b"a"),
    "a head behind its end": frame(1, 5, 1, ASKING),
    "a window too wide": frame(8, 0, 1, b"\x7f\xff\xff\xff"),
}


@pytest.mark.parametrize("spoiling", SPOILING.values(), ids=SPOILING)
@pytest.mark.parametrize("client", [True, False])
def test_who_has_the_library_cut_streams_may_not_do_so_for_ever(spoiling: bytes, client: bool) -> None:
    """Each costs a request that was judged and begun, as one that the peer resets itself."""
    session = begun(client=client)
    streams = iter(range(1, 200, 2))

    def spoil() -> None:
        stream = next(streams)
        if client:
            ask(session)
        opening = frame(1, 5 if spoiling[3] != 8 else 4, stream, b"\x88" if client else ASKING)
        session.feed(opening + spoiling[:5] + stream.to_bytes(4) + spoiling[9:])
        assert [*session.told(0.0)][1] == [Reset(stream, 3 if spoiling[3] == 8 else 5)]

    calmed(spoil)


def test_who_spoils_streams_otherwise_may_not_do_so_for_ever_either() -> None:
    session = begun(client=False)
    streams = iter(range(1, 200, 2))

    def spoil() -> None:
        session.feed(frame(1, 5, next(streams), ASKING))
        assert len([*session.told(0.0)]) == 1
        session.fault()

    calmed(spoil)


def test_small_pieces_that_wait_take_no_more_than_their_bytes_and_go_on_together() -> None:
    session = begun(client=False)
    session.feed(frame(4, 0, 0, b"\0\4\0\0\0\0") + frame(1, 5, 1, ASKING))  # no window is open
    [*session.told(0.0)]
    session.reply(1, [(b":status", b"200")])
    tracemalloc.start()
    for _ in range(20_000):
        session.send(1, b"ab")
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 100_000
    session.output()
    session.feed(frame(8, 0, 1, (40_000).to_bytes(4)))
    [*session.told(0.0)]
    assert session.pump() == [(1, 0)]
    assert len(session.output()) == 40_000 + 3 * 9  # full frames


def test_a_head_counts_by_what_is_made_of_it_whether_or_not_somebody_waits_for_it() -> None:
    """One byte may stand for a field: of `:authority: a.test`, which the table keeps."""
    session = begun(client=False)
    many = ASKING + b"\xbe" * 160
    for flags, found in ((4, Head), (5, Trailers), (5, Reset), (5, None)):  # the last for a stream that is over
        session.feed(frame(1, flags, 1, many))
        (told,) = session.told(0.0)
        assert [type(each) for each in told] == [found] * (found is not None)
        assert session.work > 20
    session.feed(frame(1, 5, 3, ASKING))
    [*session.told(0.0)]
    assert session.work < 10
