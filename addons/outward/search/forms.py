"""Bodies that are forms: multipart and URL-encoded, read strictly into the shape that JSON would have.

A file's content is not looked at. What two programs could read in different ways is refused (RFC 7578, RFC 2046 5.1).
"""

import re
from typing import Any
from urllib.parse import parse_qsl

from outward.search.jsonbody import JsonBodyError

_BOUNDARY = re.compile(r"boundary\s*=\s*(?:\"([^\"]{1,70})\"|([^\s\";,]{1,70}))", re.IGNORECASE)
_NAME = re.compile(rb"""(?:^|;)\s*name\s*=\s*(?:"([^"]*)"|([^\s";]+))""", re.IGNORECASE)
_FILE = re.compile(rb"(?:^|;)\s*filename\*?\s*=", re.IGNORECASE)
_MOST_PARTS = 2000
_KEYS = re.compile(r"[^\[\]]+")


class Upload:
    """Stands for the content of a file in a form."""


def is_form(content_type: str) -> bool:
    """Tell whether a media type is a form's."""
    return content_type.lower().lstrip().startswith(("multipart/", "application/x-www-form-urlencoded"))


def decode_form(body: bytes, content_type: str) -> dict[str, Any]:
    """Return a form's fields; a name that stands several times is a list.

    Raises:
        BodyError: when the form cannot be read in one way.
    """
    found: dict[str, Any] = {}
    for name, value in _multipart(body, content_type) if "multipart/" in content_type.lower() else _encoded(body):
        _put(found, name, value)
    return found


def _encoded(body: bytes) -> list[tuple[str, Any]]:
    try:
        return list(
            parse_qsl(body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARTS)
        )
    except (UnicodeDecodeError, ValueError) as error:
        raise JsonBodyError("a form that cannot be read") from error


def _multipart(body: bytes, content_type: str) -> list[tuple[str, Any]]:
    boundaries = [quoted or plain for quoted, plain in _BOUNDARY.findall(content_type)]
    if len(boundaries) != 1 or not content_type.lower().lstrip().startswith("multipart/form-data"):
        raise JsonBodyError("a multipart body without one boundary")
    mark = b"--" + boundaries[0].encode("latin-1")
    pieces = (b"\r\n" + body).split(b"\r\n" + mark)
    if len(pieces) < 2 or len(pieces) > _MOST_PARTS or pieces[0].strip() or not pieces[-1].startswith(b"--"):
        raise JsonBodyError("a multipart body that does not begin and end with its boundary")
    return [_part(piece) for piece in pieces[1:-1]]


def _part(piece: bytes) -> tuple[str, Any]:
    head, separator, content = piece.partition(b"\r\n\r\n")
    if not separator or not head.startswith(b"\r\n"):
        raise JsonBodyError("a part without a head")
    dispositions = [
        line.partition(b":")[2]
        for line in head[2:].split(b"\r\n")
        if line.partition(b":")[0].strip().lower() == b"content-disposition"
    ]
    found = _NAME.findall(dispositions[0]) if len(dispositions) == 1 else []
    if len(found) != 1:
        raise JsonBodyError("a part without one name")
    if _FILE.search(dispositions[0]):
        return (found[0][0] or found[0][1]).decode("utf-8", "replace"), Upload()
    try:
        return (found[0][0] or found[0][1]).decode("utf-8"), content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise JsonBodyError("a field that is not text") from error


def _put(found: dict[str, Any], name: str, value: Any) -> None:
    """Put a value where its name says: `image[url]` is the key `url` within `image`."""
    keys = _KEYS.findall(name) or [name]
    for key in keys[:-1]:
        inner = found.setdefault(key, {})
        if not isinstance(inner, dict):
            raise JsonBodyError("a field that is both a value and an object")
        found = inner
    if keys[-1] in found:
        known = found[keys[-1]]
        if isinstance(known, dict):
            raise JsonBodyError("a field that is both a value and an object")
        found[keys[-1]] = [*known, value] if isinstance(known, list) else [known, value]
    else:
        found[keys[-1]] = value
