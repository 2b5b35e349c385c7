"""Text from outside, made safe to store and to show: bounded, every character printable.

The escape is visible text (a backslash, `u` and hex digits), so a value stays safe in every later use: a log line, a
database, a web page, a terminal. It is for reading, not for decoding: a backslash in the original stays as it is.
"""

_CUT = "…"


def clean(text: str, limit: int) -> str:
    """Return at most `limit` characters, every one of them printable.

    Escaped are control and format characters (escape sequences, bidirectional overrides, zero-width characters), line
    and paragraph separators, exotic spaces, unassigned code points and lone surrogates. A cut text ends with `…`.
    """
    if text.isprintable():
        return text if len(text) <= limit else text[: limit - 1] + _CUT
    escaped = "".join(char if char.isprintable() else _escape(char) for char in text[:limit])
    if len(escaped) <= limit and len(text) <= limit:
        return escaped
    return escaped[: limit - 1] + _CUT


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
