"""Findings about a configuration: what is wrong, where, and how to mend it.

Owns the finding and its collector. Findings are values; `render` turns them into text, JSON or SARIF. Never prints.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from outward.core.model import Place


class Level(StrEnum):
    """How bad a finding is: an error keeps the configuration from being used."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    Attributes:
        level: error or warning.
        ident: stable code, such as `E012`; `findings` has its meaning.
        message: lower case, no final stop, the user's input in backticks.
        place: where it was written; None if no file is at fault.
        length: characters from the place on that are at fault, for the caret.
        help: how to mend it; empty if the message says it all.
        secret: that the line may hold a credential, so that no renderer shows it.
    """

    level: Level
    ident: str
    message: str
    place: Place | None = None
    length: int = 1
    help: str = ""
    secret: bool = False


@dataclass(slots=True)
class Report:
    """Collects findings, so that all of them are told at once.

    Attributes:
        findings: in the order in which they were found.
        sources: text of each file that was read, for the lines that renderers show.
    """

    findings: list[Finding] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)

    def error(
        self,
        ident: str,
        message: str,
        place: Place | None = None,
        length: int = 1,
        cure: str = "",
        *,
        secret: bool = False,
    ) -> None:
        """Add an error."""
        self.findings.append(Finding(Level.ERROR, ident, message, place, length, cure, secret))

    def warning(
        self,
        ident: str,
        message: str,
        place: Place | None = None,
        length: int = 1,
        cure: str = "",
        *,
        secret: bool = False,
    ) -> None:
        """Add a warning."""
        self.findings.append(Finding(Level.WARNING, ident, message, place, length, cure, secret))

    @property
    def failed(self) -> bool:
        """Whether there is an error among the findings."""
        return any(finding.level is Level.ERROR for finding in self.findings)

    def sorted(self) -> tuple[Finding, ...]:
        """Return the findings by file, in the order of first mention, and position; duplicates once."""
        return tuple(sorted(dict.fromkeys(self.findings), key=_Order(self.findings)))


class _Order:
    """Sort key: files in the order in which they were first named, then line and column."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self._files: dict[str, int] = {}
        for finding in findings:
            self._files.setdefault(_file(finding), len(self._files))

    def __call__(self, finding: Finding) -> tuple[int, int, int, str]:
        line, column = (finding.place.line, finding.place.column) if finding.place else (0, 0)
        return self._files[_file(finding)], line, column, finding.ident


def _file(finding: Finding) -> str:
    return finding.place.file if finding.place else ""
