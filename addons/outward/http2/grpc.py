"""A denial in the words of gRPC: its clients read a status and a message in the fields of a response without a body.

Owns which status tells what. Source: the gRPC project's PROTOCOL-HTTP2.md ("Trailers-Only") and statuscodes.md.
"""

from urllib.parse import quote

import orjson

from outward.http2.messages import Pairs

_STATUS = {  # by that of HTTP; others say UNKNOWN
    400: 13,  # INTERNAL, as gRPC reads a 400
    403: 7,  # PERMISSION_DENIED
    407: 16,  # UNAUTHENTICATED
    408: 4,  # DEADLINE_EXCEEDED
    413: 8,  # RESOURCE_EXHAUSTED
    429: 8,
    431: 8,
    500: 13,
    502: 14,  # UNAVAILABLE
    503: 14,
    504: 4,
}
_UNKNOWN = 2  # the code of UNKNOWN (grpc/doc/statuscodes.md)
_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
_OF_BODY = frozenset({b":status", b"content-type", b"content-length"})


def refusal(fields: Pairs, body: bytes) -> Pairs:
    """Return the fields of a response that is no more than a head, from those of a denial, and its body in JSON.

    Example:
        >>> refusal([(b":status", b"403"), (b"outward-decision", b"7")], b'{"title": "No", "reason": "no_rule"}')
        [(b':status', b'200'), (b'content-type', b'application/grpc'), (b'grpc-status', b'7'), (b'grpc-message', b'No (no_rule)'), (b'outward-decision', b'7')]
    """  # noqa: E501 - what it returns stands in one line
    status = next((int(value) for name, value in fields if name == b":status"), 0)
    return [
        (b":status", b"200"),
        (b"content-type", b"application/grpc"),
        (b"grpc-status", b"%d" % _STATUS.get(status, _UNKNOWN)),
        (b"grpc-message", quote(_words(body), safe=_PLAIN).encode("ascii")),
        *(field for field in fields if field[0] not in _OF_BODY),
    ]


def _words(body: bytes) -> str:
    """Return what a denial says, in one line."""
    try:
        problem = orjson.loads(body)
        told = f"{problem['title']} ({problem['reason']})"
    except (ValueError, KeyError, TypeError):
        return "Blocked by egress policy"
    more = [problem.get("detail"), problem.get("suggestion") and f"The line: {problem['suggestion']}"]
    return ". ".join([told, *(each.removesuffix(".") for each in more if each)])
