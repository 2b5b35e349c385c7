"""Bounded decompression of HTTP bodies: whole requests, and streams read on the side. Never trusts a declared size."""

import zlib
from typing import Protocol


class EncodingError(ValueError):
    """The content encoding is unknown, broken, or hides more than may be read."""


class _Decoder(Protocol):
    def decode(self, data: bytes, most: int) -> bytes:
        """Return at most `most` + 1 bytes of plain text, or raise EncodingError where there is more."""

    @property
    def finished(self) -> bool:
        """Whether the compressed stream has come to its own end."""


class _Zlib:
    def __init__(self) -> None:
        self._inner = zlib.decompressobj(47)  # gzip or zlib, told apart by their headers

    def decode(self, data: bytes, most: int) -> bytes:
        plain = self._inner.decompress(data, most + 1)
        if self._inner.unused_data:
            raise EncodingError("bytes after the end of the compressed body")
        return plain

    @property
    def finished(self) -> bool:
        return self._inner.eof


class _Brotli:
    def __init__(self) -> None:
        import brotli  # type: ignore[import-untyped]  # noqa: PLC0415 - rarely needed, comes with the engine

        self._inner = brotli.Decompressor()

    def decode(self, data: bytes, most: int) -> bytes:
        plain = bytes(self._inner.process(data, output_buffer_limit=most + 1))
        while len(plain) <= most and not self._inner.can_accept_more_data():
            plain += bytes(self._inner.process(b"", output_buffer_limit=most + 1 - len(plain)))
        return plain

    @property
    def finished(self) -> bool:
        return bool(self._inner.is_finished())


class _Zstandard:
    def __init__(self) -> None:
        import zstandard  # noqa: PLC0415 - rarely needed, comes with the engine

        # The window bounds the memory; RFC 9659 3 allows no more than 8 MiB in HTTP.
        self._inner = zstandard.ZstdDecompressor(max_window_size=8 << 20).decompressobj()

    def decode(self, data: bytes, most: int) -> bytes:
        plain = b""
        # The library has no output limit: small slices bound what one of them can become.
        for at in range(0, len(data), 1024):
            plain += self._inner.decompress(data[at : at + 1024])
            if len(plain) > most:
                break
        if self._inner.unused_data:
            raise EncodingError("bytes after the end of the compressed body")
        return plain

    @property
    def finished(self) -> bool:
        return bool(self._inner.eof)


_DECODERS: dict[str, type[_Zlib] | type[_Brotli] | type[_Zstandard]] = {
    "gzip": _Zlib,
    "x-gzip": _Zlib,
    "deflate": _Zlib,
    "br": _Brotli,
    "zstd": _Zstandard,
}


class Inflater:
    """Reads one encoded stream piece by piece.

    Args:
        encoding: the value of Content-Encoding; empty or `identity` for plain.
        limit: most plain bytes in all.

    Raises:
        EncodingError: when the encoding is unknown or not alone.
    """

    def __init__(self, encoding: str, limit: int) -> None:
        name = encoding.strip().lower()
        self._left = limit
        self._decoder: _Decoder | None = None
        if name in ("", "identity"):
            return
        if name not in _DECODERS:
            raise EncodingError("an unknown content encoding")
        try:
            self._decoder = _DECODERS[name]()
        except ImportError as error:
            raise EncodingError("a content encoding without a decoder here") from error

    @property
    def finished(self) -> bool:
        """Whether a compressed stream is complete; plain ones always are."""
        return self._decoder is None or self._decoder.finished

    def feed(self, data: bytes) -> bytes:
        """Return the plain bytes of the next piece.

        Raises:
            EncodingError: when the stream is broken or longer than the limit.
        """
        if self._decoder is None:
            plain = data
        else:
            try:
                plain = self._decoder.decode(data, self._left)
            except EncodingError:
                raise
            except Exception as error:
                raise EncodingError("a broken compressed body") from error
        self._left -= len(plain)
        if self._left < 0:
            raise EncodingError("a body longer than may be read")
        return plain


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """Return a whole body without its content encoding.

    Raises:
        EncodingError: when it is unknown, broken, cut short, or longer than the limit.
    """
    inflater = Inflater(encoding, limit)
    plain = inflater.feed(body)
    if not inflater.finished:
        raise EncodingError("a compressed body that is cut short")
    return plain
