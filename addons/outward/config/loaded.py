"""What comes of loading a configuration. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from outward.config.diagnostics import Finding, Level
from outward.config.settings import Settings
from outward.core.cases import Case
from outward.core.policy import Policy

if TYPE_CHECKING:
    from outward.config.brought import Brought  # what `run` needs without a file imports no schema


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of loading.

    Attributes:
        settings: None where an error is in them; an error in groups, sets or clients leaves them usable.
        policy: None if there is any error, a failing test included.
        findings: errors and warnings, by file and line.
        files: every file that was read, for the one who watches them.
        sources: their text, for the one who renders findings.
        discovered: entries of the machine's own sets that were used, by name.
        cases: the file's own tests; each that fails is an error among the findings.
        by_name: files and folders whose content is trusted because of where it lies: whoever may write there has a say.
        brought: what of it the working tree brought, which a person has to trust; None where nothing did.
    """

    settings: Settings | None
    policy: Policy | None
    findings: tuple[Finding, ...]
    files: tuple[Path, ...]
    sources: Mapping[str, str] = field(default_factory=dict, repr=False)
    discovered: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cases: tuple[Case, ...] = ()
    brought: "Brought | None" = None
    by_name: tuple[Path, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the configuration can be used: there may be warnings, but no error."""
        return not any(finding.level is Level.ERROR for finding in self.findings)
