"""Files of host names, one a line, to lists of the core: `h`, `*.h` for all below it, `.h` for both, `#` comments.

Owns the grammar of such a file and the finding of a line that is none. Reads in pieces and rests between them, so that
a reload beside traffic leaves the interpreter to it after each; no line is long enough to make a piece long.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from outward.config.diagnostics import Report
from outward.config.patterns import PatternError, parse_pattern
from outward.core.hostlist import HostList
from outward.core.model import PatternKind, Place
from outward.files import MIB

MAX_BYTES = 64 * MIB
_PIECE = 8 * 1024  # bytes: half a millisecond, where its lines need no second look
_LONGEST = 1_000  # bytes of a line: a name has 253, and a comment has its place
_COUNTED = 256 * 1024  # bytes, at a time
_REST = 0.00005  # seconds
_TOLD = 20  # findings of one file
_KINDS = (PatternKind.EXACT, PatternKind.BELOW, PatternKind.SUFFIX)
_CURE = "one name a line: `example.com`, `*.example.com` for all below it, `.example.com` for both"

# What needs no second look: no A-label, which must be decoded, and no number at the end, which might be an address.
_LABEL = rb"(?!xn--|(?:[0-9]+|0x[0-9a-f]*)\n)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_LINE = rb"(?:(?:\*?\.)?(?=[^\n]{1,253}\n)" + _LABEL + rb"(?:\." + _LABEL + rb")*+)?\n"
_PLAIN = re.compile(rb"(?:" + _LINE + rb")*+")
_COMMENT = re.compile(rb"(?<![ \t])[ \t]*+#[^\n]*|(?<![ \t\r])[ \t\r]++(?=\n)")


@dataclass(frozen=True, slots=True)
class NameFile:
    """A file of names that a set names.

    Attributes:
        path: of the file.
        place, length: where the set says so.
        data: its content.
    """

    path: Path
    place: Place
    length: int
    data: bytes


def compile_names(source: NameFile, report: Report) -> HostList:
    """Return the list of a file; what is no name is reported and left out."""
    data = source.data
    names = HostList(str(source.path), _count(data, b"\n") + 1, _count(data, b"."))
    findings = _Findings(names.file, report)
    start, line = 3 if data.startswith(b"\xef\xbb\xbf") else 0, 1
    while start < len(data):
        end = data.find(b"\n", start + _PIECE) + 1 or len(data)
        piece = data[start : min(end, start + _PIECE + _LONGEST + 1)].lower()  # of a line that is longer, enough to see
        if not piece.endswith(b"\n"):
            piece += b"\n"
        lines = piece.split(b"\n")[:-1]
        if max(map(len, lines)) > _LONGEST:
            piece = b"".join(_short(lines, line, findings))
        if any(sign in piece for sign in (b"#", b" ", b"\t", b"\r")):
            piece = _COMMENT.sub(b"", piece)
        if not _PLAIN.fullmatch(piece):
            piece = b"".join(_lines(piece, line, findings))
        names.add(piece)
        line += piece.count(b"\n")
        start = end
        time.sleep(_REST)
    findings.close()
    return names


def _count(data: bytes, sign: bytes) -> int:
    return sum(data.count(sign, start, start + _COUNTED) for start in range(0, len(data), _COUNTED))


def check_width(names: HostList, report: Report) -> None:
    """Report entries that stand for all names below a public suffix, as a rule of a list that allows may not."""
    findings = _Findings(names.file, report)
    for number, entry in enumerate(names.entries()):
        if entry.form:
            try:
                parse_pattern(f"{entry.form}{entry.name}", public_suffix=False)
            except PatternError as error:
                findings.add(entry.line, error)
        if not number % 100:
            time.sleep(_REST)
    findings.close()


@dataclass(slots=True)
class _Findings:
    """What is wrong with lines of one file, up to a number."""

    file: str
    report: Report
    count: int = 0

    def add(self, line: int, error: PatternError) -> None:
        """Report what is wrong with a line, if it is among the first."""
        self.count += 1
        if self.count <= _TOLD:
            self.report.error(error.ident, str(error), Place(self.file, line), 1, error.cure)

    def close(self) -> None:
        """Report how many more there were."""
        more = self.count - _TOLD
        if more > 0:
            self.report.error("E010", f"{more} more such lines", Place(self.file, 1), 1, _CURE)


def _short(lines: list[bytes], first: int, findings: _Findings) -> Iterator[bytes]:
    r"""Yield lines, each ended by `\n`; an empty one for what is too long to be looked at."""
    for number, line in enumerate(lines, first):
        if len(line) > _LONGEST:
            findings.add(number, PatternError("E010", f"a line of more than {_LONGEST} bytes", _CURE))
            yield b"\n"
        else:
            yield line + b"\n"


def _lines(piece: bytes, first: int, findings: _Findings) -> Iterator[bytes]:
    r"""Yield lines in canonical form, each ended by `\n`; an empty one for what is no name."""
    for number, line in enumerate(piece.split(b"\n")[:-1], first):
        if _PLAIN.fullmatch(line + b"\n"):
            yield line + b"\n"
            continue
        try:
            yield _canonical(line.strip()) + b"\n"
        except PatternError as error:
            findings.add(number, error)
            yield b"\n"


def _canonical(line: bytes) -> bytes:
    """Return a line in its canonical form.

    Raises:
        PatternError: it is no name, with all below it or not.
    """
    if not line:
        return b""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PatternError("E001", "not UTF-8", "save the file as UTF-8") from error
    pattern, port = parse_pattern(text, public_suffix=True)
    if pattern.kind not in _KINDS or port is not None:
        raise PatternError("E010", f"`{text[:80]}` is no name alone", _CURE)
    return str(pattern).encode("ascii")
