"""HTTP/2 sessions against whatever a peer may send: they end by our own error, and hold no more than their bounds."""

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from outward.http2.frames import LONGEST, PREFACE, FrameReader, Http2Error, goaway
from outward.http2.session import STREAM_WINDOW, STREAMS, WINDOW, Session
from outward.http2.told import Data, Head

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
