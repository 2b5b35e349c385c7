"""The summary at the end of `outward run`: each blocked host once, how often, why, and the line that would allow it.

Keeps one row for each host and reason, up to a bound; of paths only those that a line would have to name.
"""

import os
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from outward.cli.common import called
from outward.config.places import own_file
from outward.config.starter import as_file
from outward.core.addresses import Network
from outward.core.exits import writable
from outward.core.model import Question, Verdict
from outward.core.policy import Group, Policy
from outward.core.reasons import MEANINGS, Reason
from outward.core.suggest import Entry, cure, entry_for, question_about
from outward.records.events.values import Event
from outward.records.text import clean

MAX_ROWS = 1000
MAX_LINES = 10  # of one row
MAX_EXITS = 5  # hosts that are named
_ENDLESS = 100_000
_INDENT = " " * 6

_BY_REQUEST = (Reason.METHOD_NOT_ALLOWED, Reason.PATH_NOT_ALLOWED)


@dataclass(slots=True)
class SummaryRow:
    """What was blocked, or would have been, or could not be reached.

    Attributes:
        doubt: why no line is offered although one would allow it.
        passed: that it was let through: by report mode, or because it was only flagged.
        what: what to do, where no line would allow it; for what could not be reached, which hop and which error.
        questions: what was asked, each once.
    """

    host: str
    port: int | None
    reason: Reason
    passed: bool
    what: str
    count: int = 0
    questions: list[Question] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    doubt: str = ""

    @property
    def name(self) -> str:
        """The host, with its port unless that is the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port in (None, 443) else f"{host}:{self.port}"


class Summary:
    """Counts denials as they happen; what report mode lets through is left to a pupil, if there is one.

    Attributes:
        opened: networks that the starter policy opened; None if a configuration holds.
        policy: in force at the end; lines are made for it.
    """

    def __init__(self, pupil: Callable[[Event], None] | None = None) -> None:
        self._pupil = pupil
        self.opened: tuple[Network, ...] | None = None
        self.policy = Policy()
        self.rows: dict[tuple[str, int | None, Reason, bool], SummaryRow] = {}
        self.more = 0

    def add(self, event: Event) -> None:
        """Count an event if it was a denial, or would have been one in enforce mode.

        What report mode let through may still have failed: then it counts as both.
        """
        if self._pupil is not None:
            self._pupil(event)
        elif event.would_deny:
            self._count(event, event.would_reason or event.reason, passed=True)
        if event.verdict is not Verdict.ALLOW:
            self._count(event, event.reason, passed=False)

    def _count(self, event: Event, reason: Reason, *, passed: bool) -> None:
        key = (event.host or "-", event.port, reason, passed)
        row = self.rows.get(key)
        if row is None:
            if len(self.rows) >= MAX_ROWS:
                self.more += 1
                return
            row = self.rows[key] = SummaryRow(event.host or "-", event.port, reason, passed, _what(event, reason))
        row.count += 1
        if not row.questions or (reason in _BY_REQUEST and len(row.questions) < MAX_LINES):
            asked = question_about(
                event.group, event.host, event.port, method=event.method, path=event.path, scheme=event.scheme
            )
            if asked is not None and asked not in row.questions:
                row.questions.append(asked)

    def as_json(self) -> list[dict[str, object]]:
        """Return the rows as plain data, the most frequent first; `detail` says why something could not be reached."""
        return [_plain(row) for row in self._sorted()]

    def text(self, group: str, columns: int | None = None) -> Iterator[str]:
        """Yield the lines of the summary; none if nothing was blocked.

        Args:
            group: path of the group whose policy was in force.
            columns: of the terminal, for advice that is longer; None breaks no line.
        """
        rows = self._sorted()
        flagged = [row for row in rows if row.reason is Reason.SOURCE_OUTSIDE_ALLOWLIST and row.passed]
        passed = [row for row in rows if row.passed and row not in flagged]
        failed = [row for row in rows if not row.passed and MEANINGS[row.reason].unreached]
        blocked = [row for row in rows if not row.passed and row not in failed]
        width = max((len(row.name) for row in rows), default=0)
        for told, some in (
            (f"would have blocked {_hosts(passed)}", passed),
            (f"blocked {_hosts(blocked)}", blocked),
            (f"could not reach {_hosts(failed)}", failed),
            (f"searches through {_hosts(flagged)} named sources outside the allowlist", flagged),
        ):
            if some:
                yield f"outward: {told}"
                yield from _told(some, width, columns)
        if self.more:
            yield f"  and {self.more} more"
        if rows and group in self.policy.groups and self._pupil is None:
            yield from textwrap.wrap(_exits(self.policy.groups[group]), columns or _ENDLESS)
        if self._pupil is None:
            yield from self._to_allow(group, list(dict.fromkeys(line for row in rows for line in row.lines)))

    def _to_allow(self, group: str, lines: list[str]) -> Iterator[str]:
        """Yield what to write, and where."""
        if lines and self.opened is None:
            yield f"to allow, in the configuration under groups, {group}, allow:"
        elif lines and self.opened is not None:
            # Addresses that are not public are for the user to open, not for what a working tree brings.
            tree = f"to outward.yaml in this folder, then `{called()} trust`"
            yield f"to allow, write {f'to {own_file(os.environ)}' if self.opened else tree}:"
            lines = as_file(lines, self.opened)
        yield from (f"  {line}" for line in lines)

    def _is_noise(self, row: SummaryRow) -> bool:
        """Tell whether the command's group ignores a host."""
        groups = self.policy.groups
        return any((group := groups.get(asked.group or "")) and group.ignores(asked.host) for asked in row.questions)

    def _offer(self, row: SummaryRow) -> None:
        """Give a row the lines that would allow it, or why a person should look before there is one."""
        for asked in row.questions:
            entry = entry_for(self.policy, asked, row.reason, opening=True)
            if entry is None:
                continue
            row.doubt = row.doubt or _doubt(entry)
            if entry.line not in row.lines:
                row.lines.append(entry.line)
        if row.doubt:
            row.lines = []
            row.what = f"No line is offered: {row.doubt}; `{called()} suggest --include {row.host}` proposes one."

    def _sorted(self) -> list[SummaryRow]:
        rows = [row for row in self.rows.values() if not self._is_noise(row)]
        sent_to = {row.host for row in rows if row.reason is Reason.SECRET_MISDIRECTED}
        for row in rows:
            if row.host in sent_to:  # somebody tried to send a key there
                continue
            self._offer(row)
        return sorted(rows, key=lambda row: (-row.count, row.host, row.port or 0))


def _what(event: Event, reason: Reason) -> str:
    """Return what to do about an event, and of what could not be reached, what failed."""
    told = cure(reason, event.host, event.address, event.stage)
    detail = clean(event.detail or "", 160)
    return f"{detail[:1].upper()}{detail[1:]}. {told}" if event.detail and MEANINGS[reason].unreached else told


def _doubt(entry: Entry) -> str:
    from outward.cli.doubts import doubt_about  # noqa: PLC0415 - reads the shipped sets, if something was blocked

    return doubt_about(entry)


def _exits(group: Group) -> str:
    """Return through which hosts the policy lets data out."""
    hosts = writable(group)
    if not hosts:
        return "outward: what is allowed can only be read from; what a request asks for can still carry data out"
    more = f" and {len(hosts) - MAX_EXITS} more" if len(hosts) > MAX_EXITS else ""
    return f"outward: the policy lets data be sent to {', '.join(hosts[:MAX_EXITS])}{more}"


def _hosts(rows: Iterable[SummaryRow]) -> str:
    count = len({row.host for row in rows})
    return f"{count} host{'' if count == 1 else 's'}"


def _told(rows: Iterable[SummaryRow], width: int, columns: int | None) -> Iterator[str]:
    """Yield a line for each row, and what to do where no entry would allow it: once for rows in turn."""
    last = ""
    for row in rows:
        yield f"  {row.name:<{width}}  {row.count:>3}x  {row.reason.value}: {MEANINGS[row.reason].title}"
        if not row.lines and row.what != last:
            yield from textwrap.wrap(row.what, columns or _ENDLESS, initial_indent=_INDENT, subsequent_indent=_INDENT)
        last = "" if row.lines else row.what


def _plain(row: SummaryRow) -> dict[str, object]:
    first = row.lines[0] if row.lines else None
    plain: dict[str, object] = {
        "host": row.host,
        "port": row.port,
        "reason": row.reason.value,
        "count": row.count,
        "suggestion": first,
    }
    if row.doubt:
        plain["left_out"] = row.doubt
    if len(row.lines) > 1:
        plain["suggestions"] = row.lines
    if MEANINGS[row.reason].unreached:
        plain["detail"] = row.what
    return plain
