"""Readers give the same values whatever the chunks, line ends, encodings and splits within a character."""

import gzip
import json
import zlib
from random import Random
from typing import Any

import brotli
import pytest
import zstandard

from outward.search.inflate import EncodingError, Inflater, decompress
from outward.search.streams import DocumentReader, JsonStream, LinesReader, SseReader

VALUES: list[Any] = [
    {"a": 'x]\\"},{', "b": [1, [2, {}]], "é": "日本語🙂"},
    {"type": "ping"},
    [[], {"k": "]"}],
    {"nested": {"list": [{"s": "a,b"}, "\\\\", '"']}},
]


def _events(end: str) -> bytes:
    out = ["\ufeff", f": comment{end}", f"event: e{end}"]
    for value in VALUES:
        pretty = json.dumps(value, ensure_ascii=False, indent=1).split("\n")
        out += [f"data: {line}{end}" for line in pretty] + [f"id: 7{end}", end]
    return "".join((*out, f"data: [DONE]{end}{end}")).encode()


BODIES: dict[str, tuple[type[Any], bytes, list[Any]]] = {
    "events, LF": (SseReader, _events("\n"), VALUES),
    "events, CRLF": (SseReader, _events("\r\n"), VALUES),
    "events, CR": (SseReader, _events("\r"), VALUES),
    "events without a last empty line": (SseReader, b'data: {"a":1}\n\ndata: {"b":2}', [{"a": 1}, {"b": 2}]),
    "an array": (DocumentReader, b" \n" + json.dumps(VALUES, ensure_ascii=False).encode() + b"\n", VALUES),
    "an array cut off": (DocumentReader, json.dumps(VALUES[:2]).encode()[:-1], VALUES[:2]),
    "a document": (DocumentReader, json.dumps({"v": VALUES}, indent=2).encode(), [{"v": VALUES}]),
    "lines": (LinesReader, "\r\n".join(json.dumps(v, ensure_ascii=False) for v in VALUES).encode(), VALUES),
}


def _read(reader: JsonStream, chunks: list[bytes]) -> list[Any]:
    found = [value for chunk in chunks for value in reader.feed(chunk)]
    return [*found, *reader.finish()]


def _split(random: Random, body: bytes) -> list[bytes]:
    most = random.choice((1, 2, 5, 40, len(body)))
    chunks, at = [], 0
    while at < len(body):
        size = random.randint(1, most)
        chunks.append(body[at : at + size])
        at += size
    return chunks


@pytest.mark.parametrize("name", BODIES)
def test_any_chunking_gives_the_same_values(name: str) -> None:
    """A thousand ways to split each body."""
    kind, body, expected = BODIES[name]
    random = Random(name)
    for _ in range(1_000):
        assert _read(kind(), _split(random, body)) == expected


ENCODED = {
    "gzip": gzip.compress(_events("\n")),
    "deflate": zlib.compress(_events("\n")),
    "br": brotli.compress(_events("\n")),
    "zstd": zstandard.ZstdCompressor().compress(_events("\n")),
    "identity": _events("\n"),
}


@pytest.mark.parametrize("encoding", ENCODED)
def test_any_chunking_of_an_encoded_stream_gives_the_same_values(encoding: str) -> None:
    """The bytes pass on as they are; what is read on the side is the plain stream."""
    random = Random(encoding)
    for _ in range(200):
        inflater, reader = Inflater(encoding, 1 << 20), SseReader()
        assert _read(reader, [inflater.feed(chunk) for chunk in _split(random, ENCODED[encoding])]) == VALUES
        assert inflater.finished


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_a_bomb_is_refused_before_it_is_inflated(encoding: str) -> None:
    """What a small body may become is bounded."""
    plain = bytes(64 << 20)
    bomb = {
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        "br": lambda data: brotli.compress(data, quality=1),
        "zstd": zstandard.ZstdCompressor().compress,
    }[encoding](plain)
    with pytest.raises(EncodingError):
        decompress(bomb, encoding, 1 << 20)


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
def test_a_body_that_is_cut_short_is_refused(encoding: str) -> None:
    """Half a body could be anything."""
    with pytest.raises(EncodingError):
        decompress(ENCODED[encoding][:-6], encoding, 1 << 20)


@pytest.mark.parametrize("encoding", ["compress", "gzip, br", "gzip,gzip", "aes128gcm"])
def test_an_unknown_encoding_is_refused(encoding: str) -> None:
    """What cannot be read is not guessed at."""
    with pytest.raises(EncodingError):
        decompress(b"x", encoding, 1 << 20)
