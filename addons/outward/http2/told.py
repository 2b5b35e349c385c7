"""What the other end of an HTTP/2 connection told, stream by stream. Values only."""

from dataclasses import dataclass

from outward.http2.messages import Pairs


@dataclass(slots=True)
class Head:
    """A request's or a final response's head."""

    stream: int
    fields: Pairs
    ended: bool


@dataclass(slots=True)
class Interim:
    """A response before the final one."""

    stream: int


@dataclass(slots=True)
class Data:
    """A piece of a body; `size` bytes of the window are its, until they are acknowledged."""

    stream: int
    data: bytes
    size: int
    ended: bool


@dataclass(slots=True)
class Trailers:
    """The fields behind a body, which end it."""

    stream: int
    fields: Pairs


@dataclass(slots=True)
class Reset:
    """The peer, or the library for a fault of its, has cut a stream."""

    stream: int
    code: int


@dataclass(slots=True)
class GoAway:
    """The peer takes no stream beyond the last one."""

    last: int


type Told = Head | Interim | Data | Trailers | Reset | GoAway
