"""The library `h2`, as `session` uses it: what it leaves to us, and what it must not decide for all streams.

Owns what a head costs and which fields no table keeps. Sans-IO.
"""

from collections.abc import Iterable

from h2.config import H2Configuration
from h2.connection import AllowedStreamIDs, H2Connection
from h2.events import RequestReceived, ResponseReceived, TrailersReceived
from h2.settings import SettingCodes, Settings
from h2.stream import H2Stream
from hpack import Decoder, HeaderTuple, NeverIndexedHeaderTuple

from outward.http2.frames import LONGEST
from outward.http2.messages import Pairs

_HEAD = 8  # frames that a head counts as: a request is judged, a response too
_HEAD_BYTES = 512  # of its fields that count as one more
_FIELD = 32  # bytes that a field counts as beside its own, RFC 7541 4.1: many empty ones cost as much as a long one
_PRIVATE = frozenset({b"authorization", b"cookie", b"set-cookie", b"x-api-key"})


class _Decoder(Decoder):
    """Tells how much it has made of a head: a byte of it may stand for a field.

    Attributes:
        work: that the last heads cost, in frames.
    """

    def __init__(self) -> None:
        super().__init__()
        self.work = 0

    def decode(self, data: bytes, raw: bool = False) -> Iterable[HeaderTuple]:
        found = list(super().decode(data, raw))
        self.work += _HEAD + sum(len(name) + len(value) + _FIELD for name, value in found) // _HEAD_BYTES
        return found


class Connection(H2Connection):
    """One end of a connection, with our bounds, which validates no head: `messages` does, for one stream."""

    MAX_CLOSED_STREAMS = 1024  # that late frames are still known for
    decoder: _Decoder

    def __init__(self, head_bytes: int, streams: int, *, client: bool) -> None:
        """Begin: there is something to send at once.

        Args:
            head_bytes: most bytes of a head that is understood.
            streams: most streams at a time that the peer may open.
            client: we are the client.
        """
        super().__init__(
            H2Configuration(
                client_side=client,
                header_encoding=False,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self.local_settings = Settings(
            client=client,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: streams,
                SettingCodes.MAX_HEADER_LIST_SIZE: head_bytes,
                SettingCodes.ENABLE_PUSH: 0,
            },
        )
        self.max_inbound_frame_size = LONGEST
        self.decoder = _Decoder()
        self.decoder.max_header_list_size = 2 * head_bytes  # what is a little too long is answered with 431
        self.initiate_connection()

    @property
    def open_inbound_streams(self) -> int:
        """None: `Session` counts, and refuses one stream where the library would end all."""
        self._open_streams(1)  # forgets those that have ended
        return 0

    def _begin_new_stream(self, stream_id: int, allowed_ids: AllowedStreamIDs) -> H2Stream:
        """Leave Content-Length to who reads the head: for the library one that is wrong ends all streams."""
        stream = super()._begin_new_stream(stream_id, allowed_ids)
        stream._initialize_content_length = _no_length  # type: ignore[assignment]  # noqa: SLF001 - it has no switch
        return stream


def _no_length(_headers: object) -> None:
    """Expect no length."""


def pairs(event: RequestReceived | ResponseReceived | TrailersReceived) -> Pairs:
    """Return the fields of a head that came."""
    return [(bytes(name), bytes(value)) for name, value in event.headers]


def tuples(fields: Pairs, private: frozenset[bytes] = frozenset()) -> list[HeaderTuple]:
    """Mark the fields that no table keeps (RFC 7541 7.1.3): what is compressed beside them could tell of them."""
    return [
        (NeverIndexedHeaderTuple if name in private or name in _PRIVATE else HeaderTuple)(name, value)
        for name, value in fields
    ]
