"""One end of an HTTP/2 connection: what the peer sent goes in, what it said and what is to be sent come out.

Owns what waits to be sent, stream by stream, as far as the peer's windows let it; and what the peer may send before its
owner has taken what came: a window for each stream, since one for all would let a stream that nobody reads stop the
others. GOAWAY is ours on both sides, since the library would end the streams that it leaves alone (RFC 9113 6.8).
Sans-IO.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from h2.events import (
    DataReceived,
    Event,
    InformationalResponseReceived,
    RemoteSettingsChanged,
    RequestReceived,
    ResponseReceived,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import DenialOfServiceError, ProtocolError, StreamClosedError

from outward.http2.frames import (
    FAULT,
    LONGEST,
    PREFACE,
    Code,
    Frame,
    FrameReader,
    Http2Error,
    Kind,
    goaway,
    read_goaway,
)
from outward.http2.library import Connection, pairs, tuples
from outward.http2.messages import Pairs
from outward.http2.told import Data, GoAway, Head, Interim, Reset, Told, Trailers

STREAMS = 100  # at a time, of one client: the least that RFC 9113 6.5.2 advises; nginx takes 128
STREAM_WINDOW = 65_535  # bytes, RFC 9113 6.9.2
WIDER = 192 * 1024  # bytes more for a stream that is read: 64 KiB in a round trip slows bodies from afar
WIDE = 5  # such streams at a time
WINDOW = 1024 * 1024  # bytes under way on a connection; given back as they come
_TABLE = 4096  # bytes of fields that are remembered for compression, RFC 9113 6.5.2


@dataclass(slots=True)
class _Out:
    """What waits to be sent on a stream.

    Attributes:
        body: as bytes, not as the pieces that it came in: of one byte each they would take a hundred times as much.
        ended: nothing follows.
        trailers: follow, and end it.
        reset: the code to cut it with when all is sent; None leaves it.
        taken: bytes of the other direction's window that are to be given back.
        wide: that window has been widened.
    """

    body: bytearray = field(default_factory=bytearray)
    ended: bool = False
    trailers: Pairs | None = None
    reset: int | None = None
    taken: int = 0
    wide: bool = False


class Session:
    """One end of a connection.

    Attributes:
        blocked: the transport is full: no DATA is sent.
        last: the highest stream that the peer has opened.
        work: that the frame cost which was told last, in frames that cost little.
    """

    def __init__(self, head_bytes: int, now: float, *, client: bool) -> None:
        """Begin: there is something to send at once.

        Args:
            head_bytes: most bytes of a head that is understood.
            now: in seconds, by any clock that never goes back, as in `told`.
            client: we are the client.
        """
        self.blocked = False
        self.last = self.work = 0
        self._frames = FrameReader(head_bytes, now, preface=not client)
        self._out: dict[int, _Out] = {}
        self._own = bytearray()
        self._come = 0  # bytes of the connection's window
        self._dead = False
        connection = self._connection = Connection(head_bytes, STREAMS, client=client)
        connection.increment_flow_control_window(WINDOW - connection.inbound_flow_control_window)
        if not client:
            connection.receive_data(PREFACE)  # which `frames` reads

    @property
    def unfinished(self) -> bool:
        """Whether the peer owes the rest of a head, or of any frame but DATA."""
        return self._frames.unfinished

    @property
    def room(self) -> bool:
        """Whether the peer takes another stream of ours."""
        connection = self._connection
        known = connection.remote_settings.max_concurrent_streams
        return not self._dead and connection.open_outbound_streams < min(known, STREAMS)

    # What comes -----------------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Take what the peer sent; read all that it told before more is fed."""
        self._frames.feed(data)

    def told(self, now: float) -> Iterator[list[Told]]:
        """Yield what each frame told, frame by frame.

        Raises:
            Http2Error: the peer has broken the protocol, or a bound; there is a GOAWAY to send, and nothing else.
        """
        try:
            while not self._dead and (frame := self._frames.next(now)) is not None:
                yield self._read(frame, now)
        except Http2Error as error:
            self.fail(error.code)
            raise
        except DenialOfServiceError as error:
            self._end_all()
            raise Http2Error(error.error_code, "the head is too long", too_large=True) from error
        except ProtocolError as error:
            self._end_all()  # the library has said so
            raise Http2Error(error.error_code, f"HTTP/2: {error}") from error

    def fail(self, code: int) -> None:
        """End the connection with a GOAWAY: nothing follows it."""
        if not self._dead:
            self._own += goaway(self.last, code)
            self._end_all()

    def _end_all(self) -> None:
        self._dead = True
        self._out.clear()

    def _read(self, frame: Frame, now: float) -> list[Told]:
        self.work = 1
        if frame.kind == Kind.GOAWAY:
            return [GoAway(read_goaway(frame)[0])]
        known = frame.stream in self._out
        self._connection.decoder.work = 0
        events = self._connection.receive_data(frame.wire)
        self.work += self._connection.decoder.work
        told = [each for event in events if (each := self._tell(event)) is not None]
        if any(isinstance(event, StreamReset) and not event.remote_reset for event in events):
            self._frames.idle.spend(now, FAULT)  # the library has cut it: a reset that the peer has made us send
        elif (frame.kind == Kind.DATA and not (told and known)) or (self._connection.decoder.work and not told):
            self._frames.idle.spend(now)  # for a stream that is over: it costs an answer
        return told

    def _tell(self, event: Event) -> Told | None:
        if isinstance(event, DataReceived):
            size, ended = event.flow_controlled_length, event.stream_ended is not None
            self._open_wide(size)
            return Data(event.stream_id, event.data, size, ended)
        if isinstance(event, RequestReceived | ResponseReceived):
            if isinstance(event, RequestReceived):
                self._out[event.stream_id] = _Out()
                self.last = event.stream_id
            return Head(event.stream_id, pairs(event), event.stream_ended is not None)
        if isinstance(event, TrailersReceived):
            return Trailers(event.stream_id, pairs(event))
        if isinstance(event, InformationalResponseReceived):
            return Interim(event.stream_id)
        if isinstance(event, StreamReset):
            self._out.pop(event.stream_id, None)
            return Reset(event.stream_id, int(event.error_code))
        if isinstance(event, RemoteSettingsChanged):
            encoder = self._connection.encoder
            encoder.header_table_size = min(encoder.header_table_size, _TABLE)
        return None

    def _open_wide(self, size: int) -> None:
        """Give the connection's window back, whoever takes what came."""
        self._come += size
        if self._come >= WINDOW // 2:
            self._connection.increment_flow_control_window(self._come)
            self._come = 0

    def acknowledge(self, stream: int, size: int) -> None:
        """Give bytes of a stream's window back, in few frames: what filled them has been taken."""
        out = self._out.get(stream)
        if out is None or self._dead:
            return
        out.taken += size
        if out.taken < STREAM_WINDOW // 4:
            return
        if not out.wide and sum(each.wide for each in self._out.values()) < WIDE:
            out.wide = True
            out.taken += WIDER
        with suppress(KeyError, StreamClosedError):  # it is over
            self._connection.increment_flow_control_window(out.taken, stream)
        out.taken = 0

    # What is sent ---------------------------------------------------------------------------------------------------

    def open(self, fields: Pairs, private: frozenset[bytes], *, ended: bool) -> int:
        """Send the head of a request, and return its stream; there must be room."""
        stream = self._connection.get_next_available_stream_id()
        self._out[stream] = _Out(ended=ended)
        self._connection.send_headers(stream, tuples(fields, private), end_stream=ended)
        return stream

    def reply(self, stream: int, fields: Pairs) -> None:
        """Send the head of a response, interim or final, behind which more comes."""
        if stream in self._out:
            self._connection.send_headers(stream, tuples(fields))

    def answer(self, stream: int, fields: Pairs, *, reset: int | None) -> None:
        """Send a response that is no more than a head; see `finish`."""
        out = self._out.get(stream)
        if out is not None and not out.ended:
            self._connection.send_headers(stream, tuples(fields), end_stream=True)
            out.ended, out.reset = True, reset
            self._over(stream, out)

    def send(self, stream: int, data: bytes) -> int:
        """Send a piece of a body, as soon as it may be; return the bytes that wait on this stream now."""
        out = self._out.get(stream)
        if out is None:
            return 0
        out.body += data
        return len(out.body)

    def finish(self, stream: int, trailers: Pairs | None = None, *, reset: int | None = None) -> None:
        """End what we say on a stream, behind what waits there; then cut it with a code, if there is one."""
        out = self._out.get(stream)
        if out is not None and not out.ended:
            out.trailers, out.reset = trailers, reset
            out.ended = True
            if not out.body:
                self._end(stream, out)

    def reset(self, stream: int, code: int) -> None:
        """Cut a stream, whatever waits there."""
        if self._out.pop(stream, None) is not None:
            with suppress(StreamClosedError):  # both sides have said all
                self._connection.reset_stream(stream, code)

    def refuse(self, stream: int, now: float) -> None:
        """Cut a stream that was not looked at, so that the client may ask elsewhere (RFC 9113 8.7).

        Raises:
            Http2Error: there were too many.
        """
        self.reset(stream, Code.REFUSED_STREAM)
        self._frames.idle.spend(now)

    def fault(self) -> None:
        """Take note that the peer has spoilt a stream otherwise than by a frame; if there were too many, it ends."""
        self._frames.idle.owe()

    def forget(self, stream: int) -> None:
        """Keep nothing of a stream that is over on both sides."""
        self._out.pop(stream, None)

    def pump(self) -> list[tuple[int, int]]:
        """Send what may be sent now, each stream in turn; return the streams that got on, with what still waits."""
        if self.blocked or self._dead:
            return []
        moved: dict[int, int] = {}
        waiting = [(stream, out) for stream, out in self._out.items() if out.body]
        while waiting:
            waiting = [(stream, out) for stream, out in waiting if self._send_some(stream, out, moved) and out.body]
        return list(moved.items())

    def _send_some(self, stream: int, out: _Out, moved: dict[int, int]) -> bool:
        """Send one frame; False where no window is open."""
        connection = self._connection
        try:
            window = min(connection.local_flow_control_window(stream), LONGEST)
        except StreamClosedError:
            self._out.pop(stream, None)
            return False
        if window <= 0:
            return False
        piece = bytes(out.body[:window])
        del out.body[:window]
        last = out.ended and not out.body and out.trailers is None
        connection.send_data(stream, piece, end_stream=last)
        self._frames.idle.earn()
        moved[stream] = len(out.body)
        if last:
            self._over(stream, out)
        elif out.ended and not out.body:
            self._end(stream, out)
        return True

    def _end(self, stream: int, out: _Out) -> None:
        if out.trailers is not None:
            self._connection.send_headers(stream, tuples(out.trailers), end_stream=True)
        else:
            self._connection.end_stream(stream)
        self._over(stream, out)

    def _over(self, stream: int, out: _Out) -> None:
        if out.reset is not None:
            self.reset(stream, out.reset)

    def ending(self) -> None:
        """Tell the peer that no stream beyond those that it has opened will be answered."""
        if not self._dead:
            self._own += goaway(self.last, Code.NO_ERROR)

    def output(self) -> bytes:
        """Return what is to be sent."""
        own = bytes(self._own)
        self._own.clear()
        return self._connection.data_to_send() + own
