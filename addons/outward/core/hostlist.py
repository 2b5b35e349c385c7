"""A long list of host names in little memory: one block of text, and open-addressed tables of places in it.

A million names are no million objects: the collector walks none of them, and all are freed in one step. A list is
filled piece by piece, so that whoever fills it beside other work decides how often that work has its turn. Never reads
files; what is no name is somebody else's to refuse.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

_NEWLINE, _STAR = b"\n*"


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry of a list.

    Attributes:
        form: empty for the name alone, `*.` for every name below it, `.` for both.
        name: canonical.
        line: where it stands, counted from 1.
    """

    form: str
    name: str
    line: int


class HostList:
    r"""Names, each alone, with all below it, or all below it alone. Filled once, then only asked.

    Attributes:
        file: what the list was read from, for places.
        length: how many different entries it has.

    Example:
        >>> names = HostList("hosts.txt", names=2, dots=2)
        >>> names.add(b"a.example\n.b.example\n")
        >>> [(each.form, each.name, each.line) for each in names.matching("x.b.example")]
        [('.', 'b.example', 2)]
        >>> names.touches("example"), len(list(names.entries()))
        (True, 2)
    """

    __slots__ = (
        "_above",
        "_depths",
        "_firsts",
        "_lines",
        "_mask",
        "_starts",
        "_table",
        "_text",
        "_wilds",
        "file",
        "length",
    )

    def __init__(self, file: str, names: int, dots: int) -> None:
        """Make an empty list with room for so many entries, and so many dots in all of them."""
        self.file = file
        self.length = 0
        self._text = bytearray(b"\n")  # every entry stands between two line ends; place 0 stands for none
        self._table = _table(names)
        self._mask = len(self._table) - 1
        self._above = _table(dots)  # every name that has an entry below it
        self._depths = 0  # bit n: there is an entry with n dots
        self._wilds: tuple[int, ...] = ()  # how many dots those have that match names below them, the most first
        self._starts, self._firsts = array("Q"), array("Q")  # where each piece begins, and with which line
        self._lines = 1

    def add(self, text: bytes) -> None:
        r"""Add lines, each ended by `\n`: `h`, `*.h`, `.h` with canonical names, or nothing."""
        data, table, mask = self._text, self._table, self._mask
        at = len(data)
        self._starts.append(at)
        self._firsts.append(self._lines)
        data += text
        lines = text.split(b"\n")[:-1]
        names = [line.lstrip(b"*.") for line in lines]
        parents: dict[bytes, int] = {}
        added = 0
        for line, name in zip(lines, names, strict=True):
            at += len(line) - len(name)
            slot = hash(name) & mask
            while (other := table[slot]) and not (self._is(name, other) and self._form(other) == self._form(at)):
                slot = (slot + 1) & mask
            if not other and name:
                table[slot] = at
                added += 1
                if dot := name.find(b".") + 1:
                    parents[name[dot:]] = at + dot
            at += len(name) + 1
        self.length += added
        self._lines += len(lines)
        self._note(lines, names)
        self._add_above(parents)

    def _note(self, lines: list[bytes], names: list[bytes]) -> None:
        """Note how many dots names have."""
        for dots in {name.count(b".") for name in names if name}:
            self._depths |= 1 << dots
        wild = {name.count(b".") for line, name in zip(lines, names, strict=True) if len(line) > len(name)}
        if not wild.issubset(self._wilds):
            self._wilds = tuple(sorted(wild.union(self._wilds), reverse=True))

    def _add_above(self, parents: dict[bytes, int]) -> None:
        """Add names that have an entry below them, and where they stand in it; with all that are above these."""
        above, mask, known = self._above, len(self._above) - 1, set[bytes]()
        for parent, place in parents.items():
            name, at = parent, place
            while name not in known:
                slot = hash(name) & mask
                while (other := above[slot]) and not self._is(name, other):
                    slot = (slot + 1) & mask
                if other:  # and with it all above
                    known.add(name)
                    break
                above[slot] = at
                dot = name.find(b".") + 1
                if not dot:
                    break
                name, at = name[dot:], at + dot

    def matching(self, host: str) -> list[Listed]:
        """Return the entries that match a canonical name, the most specific first; mostly there is none."""
        key, table, mask = host.encode("ascii", "replace"), self._table, self._mask
        dots = key.count(b".")
        found: list[Listed] = []
        if self._depths >> dots & 1 and table[hash(key) & mask]:
            found += [each for each in self._entries(key) if each.form != "*."]
        base, left = key, dots
        for depth in self._wilds:
            if depth < dots:
                base, left = base.split(b".", left - depth)[-1], depth
                if table[hash(base) & mask]:
                    found += [each for each in self._entries(base) if each.form]
        return found

    def touches(self, host: str) -> bool:
        """Tell whether an entry matches a canonical name, or some name below it."""
        key = host.encode("ascii", "replace")
        above = self._above
        return any(self._places(above, key)) or any(self._places(self._table, key)) or bool(self.matching(host))

    def entries(self) -> Iterator[Listed]:
        """Yield every line's entry in the order of the list."""
        for number, line in enumerate(self._text[1:].split(b"\n"), 1):
            if line:
                name = line.lstrip(b"*.")
                yield Listed(line[: len(line) - len(name)].decode(), name.decode(), number)

    def _entries(self, name: bytes) -> Iterator[Listed]:
        for at in self._places(self._table, name):
            yield Listed(self._form(at), name.decode(), self._line(at))

    def _places(self, table: "memoryview[int]", name: bytes) -> Iterator[int]:
        mask = len(table) - 1
        slot = hash(name) & mask
        while at := table[slot]:
            if self._is(name, at):
                yield at
            slot = (slot + 1) & mask

    def _is(self, name: bytes, at: int) -> bool:
        return self._text.startswith(name, at) and self._text[at + len(name)] == _NEWLINE

    def _form(self, at: int) -> str:
        if self._text[at - 1] == _NEWLINE:
            return ""
        return "*." if self._text[at - 2] == _STAR else "."

    def _line(self, at: int) -> int:
        piece = bisect_right(self._starts, at) - 1
        return self._firsts[piece] + self._text.count(b"\n", self._starts[piece], at)


def _table(entries: int) -> "memoryview[int]":
    """Return an empty table of a power of two, at most a third full; its memory is taken as it is written to."""
    return memoryview(bytearray(4 << (entries * 3 + 1).bit_length())).cast("I")
