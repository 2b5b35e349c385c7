"""Placeholders: what a client holds instead of a secret, and the forms in which one gives itself away.

Owns their one form and its disguises: any case, escapes of a URL, Base64. Pure; knows names of secrets, never values.
"""

import binascii
import re
from base64 import b64decode
from collections.abc import Iterable
from urllib.parse import unquote

_PREFIX = "outward-secret-"
_STANDARD = str.maketrans("-_", "+/")
_DECODINGS = 3  # of escapes in a URL: servers are known to decode twice (CWE-174), and one more is a margin
_BASE64 = (
    re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}"),
    re.compile(r"[A-Za-z0-9+_-]{16,}={0,2}"),  # between the slashes of a path
)
# A placeholder without its prefix in plain sight needs one of these: an escape of a character that it, its Base64 or
# another escape is made of; or the prefix in Base64, which has three forms by where it begins among groups of three
# bytes, and two letters for most places, by case. Each begins with what is found fast, not with the form's own begin.
_DISGUISES = (
    re.compile(rb"%(?:2[5Dd]|3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa])"),
    re.compile(rb"C1[Tz][RZ][UW]N[Sy][RZ][VX]Qt"),
    re.compile(rb"Qt[Uc][02]V[Dj][Uc][km]V[0U]L"),
    re.compile(rb"L[VX]N[Fl][QY][13]J[Fl][Vd]C"),
)
_PLAIN = _PREFIX.encode()
_FOLDED = bytes(range(256)).lower().translate(bytes.maketrans(b"_.", b"--"))  # as servers read names of fields


def placeholder(name: str) -> str:
    """Return what a client holds instead of a secret.

    Example:
        >>> placeholder("github")
        'outward-secret-github'
    """
    return _PREFIX + name


def may_hold(data: bytes) -> bool:
    """Tell whether a placeholder can stand in some text, in any form: fast, and never wrong where it says no.

    Example:
        >>> may_hold(b"GET /a%20b HTTP/1.1"), may_hold(b"GET /?%6futward-secret-github HTTP/1.1")
        (False, True)
    """
    return _PLAIN in data.translate(_FOLDED) or any(form.search(data) is not None for form in _DISGUISES)


def found_in(text: str, names: Iterable[str]) -> str | None:
    """Return the secret whose placeholder stands in a text, in any case, escaped, or within Base64; None without one.

    Example:
        >>> found_in("/?q=outward%2Dsecret%2Dgithub", ["github"])
        'github'
    """
    if not may_hold(text.encode("ascii", "replace")):
        return None
    for reading in _readings(text):
        lower = reading.lower()
        if _PREFIX in lower:
            # A longer name may begin with a shorter one; whose it is matters to the one who reads the record.
            fitting = [name for name in names if placeholder(name).lower() in lower]
            if fitting:
                return max(fitting, key=len)
    return None


def _readings(text: str) -> Iterable[str]:
    yield text
    for _ in range(_DECODINGS):
        if "%" not in text:
            break
        text = unquote(text)
        yield text
    for form in _BASE64:
        for match in form.finditer(text):
            for begin in range(4):  # letters of a word that it stands behind, in a group of four
                letters = match[0][begin:].translate(_STANDARD).rstrip("=")
                whole = letters[: len(letters) - (len(letters) % 4 == 1)]
                yield b64decode(whole + "=" * (-len(whole) % 4)).decode("latin-1")  # there may be any byte beside it


def plain_of(text: str) -> str:
    """Decode Base64 of either alphabet; empty if it is none, or no text.

    Example:
        >>> plain_of("dXNlcjpwYXNz")
        'user:pass'
    """
    plain = text.translate(_STANDARD).rstrip("=")
    try:
        return b64decode(plain + "=" * (-len(plain) % 4), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""
