"""Findings as text with a caret, as JSON, and as SARIF 2.1.0. Pure: returns text, never prints."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from outward.config.diagnostics import Finding, Level
from outward.core.model import Place

_RED, _YELLOW, _BLUE, _BOLD, _RESET = "\033[31m", "\033[33m", "\033[34m", "\033[1m", "\033[0m"
_WIDTH = 160


def render_text(findings: Iterable[Finding], sources: Mapping[str, str] | None = None, *, color: bool = False) -> str:
    """Return findings for people: place, level, code, message; the line with a caret; the cure.

    Args:
        findings: what was found.
        sources: text of the files, for the lines; without them no line is shown.
        color: whether to use ANSI colours.
    """
    lines = {file: text.split("\n") for file, text in (sources or {}).items()}
    return "\n".join(_one(finding, lines, color) for finding in findings)


def summary(findings: Iterable[Finding]) -> str:
    """Return how many errors and warnings there are, in words."""
    counts = dict.fromkeys(Level, 0)
    for finding in findings:
        counts[finding.level] += 1
    named = [f"{count} {level}{'' if count == 1 else 's'}" for level, count in counts.items() if count]
    return ", ".join(named) or "no errors, no warnings"


def _one(finding: Finding, lines: Mapping[str, list[str]], color: bool) -> str:
    hue = _RED if finding.level is Level.ERROR else _YELLOW
    level = f"{finding.level}[{finding.ident}]"
    where = f"{_where(finding.place)}: " if finding.place else ""
    if color:
        level, where = f"{hue}{level}{_RESET}", f"{_BOLD}{where}{_RESET}"
    parts = [f"{where}{level}: {finding.message}"]
    parts += _excerpt(finding, lines, hue if color else "")
    if finding.help:
        parts.append(f"   {_BLUE}help{_RESET}: {finding.help}" if color else f"   help: {finding.help}")
    return "\n".join(parts)


def _where(place: Place) -> str:
    """Name a place; a variable of the environment has no lines."""
    return place.file if place.file.startswith("$") else f"{place.file}:{place.line}:{place.column}"


def _excerpt(finding: Finding, lines: Mapping[str, list[str]], hue: str) -> list[str]:
    """Return the line and the caret below it; nothing where the line may hold a credential."""
    place = finding.place
    if place is None or finding.secret or not 0 < place.line <= len(lines.get(place.file, ())):
        return []
    line = lines[place.file][place.line - 1].rstrip("\r")
    if len(line) > _WIDTH:
        return []
    shown = "".join(
        each if each.isprintable() else " " if each == "\t" else "\N{REPLACEMENT CHARACTER}" for each in line
    )
    number = f"{place.line:5}"
    caret = " " * (place.column - 1) + "^" * max(1, min(finding.length, len(line) - place.column + 1))
    return [f"{number} | {shown}", f"{' ' * len(number)} | {hue}{caret}{_RESET if hue else ''}"]


def render_json(findings: Iterable[Finding]) -> str:
    """Return findings as a JSON document."""
    items = [
        {
            "level": finding.level,
            "ident": finding.ident,
            "message": finding.message,
            "file": finding.place.file if finding.place else None,
            "line": finding.place.line if finding.place else None,
            "column": finding.place.column if finding.place else None,
            "help": finding.help or None,
        }
        for finding in findings
    ]
    return json.dumps({"findings": items}, indent=2)


def render_sarif(findings: Iterable[Finding], version: str) -> str:
    """Return findings as SARIF 2.1.0, for code-scanning reports."""
    results = [_result(finding) for finding in findings]
    rules = [{"id": ident} for ident in sorted({result["ruleId"] for result in results})]
    driver = {"name": "outward", "version": version, "rules": rules}
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    schema = "https://json.schemastore.org/sarif-2.1.0.json"
    return json.dumps({"$schema": schema, "version": "2.1.0", "runs": [run]}, indent=2)


def _result(finding: Finding) -> dict[str, Any]:
    text = finding.message + (f" (help: {finding.help})" if finding.help else "")
    result: dict[str, Any] = {"ruleId": finding.ident, "level": finding.level.value, "message": {"text": text}}
    if finding.place:
        region = {
            "startLine": finding.place.line,
            "startColumn": finding.place.column,
            "endColumn": finding.place.column + max(1, finding.length),
        }
        artifact = {"uri": finding.place.file}
        result["locations"] = [{"physicalLocation": {"artifactLocation": artifact, "region": region}}]
    return result
