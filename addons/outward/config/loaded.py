"""What comes of loading a configuration. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from outward.config.diagnostics import Finding, Level
from outward.config.settings import Settings
from outward.core.policy import Policy

if TYPE_CHECKING:
    from outward.config.brought import Brought  # what `run` needs without a file imports no schema
    from outward.config.subtrees import Subtree
    from outward.core.cases import Case


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of loading.

    Attributes:
        settings: None if an error is in them; an error in groups, sets or clients leaves them usable.
        policy: None if there is any error, a failing test included.
        findings: errors and warnings, by file and line; those of confined files are their subtree's.
        files: every file that was read, for the one who watches them.
        sources: the text of those that are trusted, or brought.
        discovered: entries of the machine's own sets that were used, by name.
        cases: the file's own tests; each that fails is an error among the findings.
        by_name: files and folders whose content is trusted because of where it lies: whoever may write there has a say.
        brought: what of it the working tree brought, which a person has to trust; None if nothing did.
        folders: where a pattern looks for files, for the one who watches for new ones.
        subtrees: what became of confined files; an error in one is no error of the whole.
    """

    settings: Settings | None
    policy: Policy | None
    findings: tuple[Finding, ...]
    files: tuple[Path, ...]
    sources: Mapping[str, str] = field(default_factory=dict, repr=False)
    discovered: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cases: "tuple[Case, ...]" = ()
    brought: "Brought | None" = None
    by_name: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()
    subtrees: "tuple[Subtree, ...]" = ()

    @property
    def ok(self) -> bool:
        """Whether the configuration can be used: there may be warnings, but no error outside confined files."""
        return not any(finding.level is Level.ERROR for finding in self.findings)

    @property
    def all_findings(self) -> tuple[Finding, ...]:
        """The findings, and those of confined files."""
        return (*self.findings, *(finding for each in self.subtrees for finding in each.findings))

    @property
    def texts(self) -> Mapping[str, str]:
        """The text of every file, for the one who renders findings or proposes changes."""
        return {**self.sources, **{name: text for each in self.subtrees for name, text in each.latest.texts.items()}}

    @property
    def kept_back(self) -> tuple[str, ...]:
        """What is not in force as the confined files say, in a line for each subtree."""
        return tuple(problem for each in self.subtrees if (problem := each.problem) is not None)
