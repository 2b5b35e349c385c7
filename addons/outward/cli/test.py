"""`outward test`: what the policy's authors expect, held against what it decides."""

import json
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import click

from outward.cli.common import called, load_or_exit, refuse, require_config
from outward.cli.options import config_option
from outward.cli.table import has_colour
from outward.cli.trusting import mention
from outward.config.cases import parse_cases
from outward.config.diagnostics import Report
from outward.config.gather import cause_of
from outward.config.loaded import Loaded
from outward.core.cases import Case, CaseResult, hold
from outward.core.model import Place
from outward.files import MIB, read_regular

FAILED = 4  # exit code
_VERSION = re.compile(rb"^version[ \t]*:", re.MULTILINE)


@click.command()
@click.argument("files", nargs=-1, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--junit", type=click.Path(dir_okay=False, writable=True, path_type=Path), help="Write JUnit XML there.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@config_option
def test(files: tuple[Path, ...], junit: Path | None, *, as_json: bool, config: Path | None) -> None:
    """Hold the policy against its tests: those of FILES, or the `tests` of the configuration itself.

    A test is `{group: acme, url: "https://example.com/", method: GET, expect: allow, reason: rule}`; `method` and
    `reason` may be left out. Exits with 0 if all pass, and with 4 if one fails.
    """
    if config is None and (policy_file := next(filter(_is_policy, files), None)) is not None:
        told = f"{policy_file} is a policy, and FILES hold tests alone: to test this policy: "
        raise click.UsageError(f"{told}{called()} test --config {shlex.quote(str(policy_file))}")
    loaded = load_or_exit(require_config(config), as_json=as_json, hold=False)
    mention(loaded)
    policy = loaded.policy
    if policy is None:
        raise click.ClickException("the configuration has no policy")
    cases = _cases(files, loaded, list(policy.groups), as_json=as_json) if files else loaded.cases
    if not cases:
        raise click.UsageError("no tests: write `tests:` into the configuration, or name a file that holds some")
    outcomes = [hold(policy, case) for case in cases]
    if junit is not None:
        junit.write_bytes(_junit(outcomes))
    click.echo(json.dumps(_as_json(outcomes), indent=2) if as_json else _as_text(outcomes))
    if not all(outcome.passed for outcome in outcomes):
        sys.exit(FAILED)


def _is_policy(path: Path) -> bool:
    """Tell whether a file is a whole configuration; one that cannot be read is told of later."""
    try:
        return _VERSION.search(read_regular(path, 16 * MIB)) is not None
    except OSError:
        return False


def _cases(files: Sequence[Path], loaded: Loaded, groups: Sequence[str], *, as_json: bool) -> tuple[Case, ...]:
    report = Report()
    cases: list[Case] = []
    for path in files:
        place = Place(str(path), 1)
        try:
            cases += parse_cases(read_regular(path, 16 * MIB).decode(), str(path), groups, report)
        except OSError as error:
            report.error("E001", f"cannot read `{path}`: {cause_of(error)}", place)
        except UnicodeDecodeError:
            report.error("E001", "not UTF-8", place, cure="save the file as UTF-8")
    if report.failed:
        refuse(Loaded(loaded.settings, None, report.sorted(), (), report.sources), as_json=as_json)
    return tuple(cases)


def _as_text(outcomes: Sequence[CaseResult]) -> str:
    failed = [outcome for outcome in outcomes if not outcome.passed]
    red, plain = ("\x1b[31m", "\x1b[0m") if has_colour() else ("", "")
    lines = []
    for outcome in failed:
        lines.append(f"{red}FAIL{plain} {outcome.case.place}  {outcome.case.name}: {outcome.difference}")
        decided = next((step for step in outcome.trace.steps if step.decided), None)
        if decided is not None:
            lines.append(
                f"     decided by {decided.kind} {decided.rule.pattern} ({decided.group}, {decided.rule.place})"
            )
    return "\n".join([*lines, f"{len(outcomes) - len(failed)} passed, {len(failed)} failed"])


def _as_json(outcomes: Sequence[CaseResult]) -> list[dict[str, Any]]:
    return [
        {
            "group": outcome.case.question.group,
            "url": outcome.case.url,
            "method": outcome.case.question.method,
            "expect": outcome.case.expect.name.lower(),
            "expect_reason": outcome.case.reason,
            "verdict": outcome.verdict.name.lower(),
            "reason": outcome.reason,
            "passed": outcome.passed,
            "file": outcome.case.place.file,
            "line": outcome.case.place.line,
        }
        for outcome in outcomes
    ]


def _junit(outcomes: Sequence[CaseResult]) -> bytes:
    """Return the outcomes in the form that CI systems read (`testsuite` of JUnit)."""
    failed = sum(not outcome.passed for outcome in outcomes)
    suite = ET.Element("testsuite", name="outward", tests=str(len(outcomes)), failures=str(failed))
    for outcome in outcomes:
        place = outcome.case.place
        case = ET.SubElement(
            suite, "testcase", classname=str(place.file), name=outcome.case.name, file=place.file, line=str(place.line)
        )
        if not outcome.passed:
            ET.SubElement(case, "failure", message=outcome.difference).text = f"{place}: {outcome.difference}"
    text: bytes = ET.tostring(suite, encoding="utf-8", xml_declaration=True)
    return text
