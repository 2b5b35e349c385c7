"""`outward replay`: recorded traffic under another policy."""

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from outward.cli.common import load_or_exit, settings_of
from outward.cli.table import columns
from outward.cli.traffic import Groups, read_log
from outward.cli.when import When
from outward.config.settings import Settings
from outward.core.cases import hold
from outward.core.replay import Change, Replayed
from outward.core.replay import replay as play
from outward.records.database import StoreAwayError, open_database
from outward.records.events.traffic import FORMATS, Fact, of_store, recorded

FAILED = 4  # exit code
_CHANGES = (Change.NEWLY_BLOCKED, Change.NEWLY_ALLOWED)


@click.command()
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option(
    "--config", "-c", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The policy to try."
)
@click.option(
    "--from",
    "form",
    type=click.Choice(list(FORMATS)),
    help="Read FILE, a log of this format, instead of the store; `-` reads standard input.",
)
@click.option("--records", type=click.Path(dir_okay=False, path_type=Path), help="Configuration that names the store.")
@click.option("--since", type=When(), default="7d", show_default=True, help="From this time on: 2h, 7d, or RFC 3339.")
@click.option(
    "--group", "-g", help="Group of clients whose log names none; default: the one for anyone, or the only one."
)
@click.option(
    "--examples", type=click.IntRange(0, 1000), default=10, show_default=True, help="How many of each to show."
)
@click.option(
    "--fail-on",
    type=click.Choice([str(change) for change in _CHANGES]),
    multiple=True,
    help="Exit with 4 if there is any.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def replay(
    file: Path | None, *, config: Path, form: str | None, records: Path | None, since: float, group: str | None,
    examples: int, fail_on: tuple[str, ...], as_json: bool,
) -> None:  # fmt: skip
    """Show what a policy would do to recorded traffic: newly blocked, newly allowed, unchanged, by group.

    Reads the proxy's own store, or FILE: our JSON lines, or the log of Squid, AWF or smokescreen. Changes nothing.
    """
    if (form is None) != (file is None):
        raise click.UsageError("give --from FORMAT and FILE together, or neither for the store")
    loaded = load_or_exit(config, as_json=as_json, hold=False)
    policy = loaded.policy
    if policy is None:
        raise click.ClickException("the configuration has no policy")
    failing = sum(not hold(policy, case).passed for case in loaded.cases)
    if failing:
        notice = f"{failing} of the policy's own tests fail; `outward test --config {config}` shows them"
        click.echo(f"outward: warning: {notice}", err=True)
    if file and form:
        facts, strange = read_log(file, form)
    else:
        settings = settings_of(records, as_json=as_json) if records else loaded.settings
        facts, strange = _store(settings or Settings(), since), 0
    traffic, odd = recorded(facts, Groups(policy, group))
    results = list(play(policy, traffic))
    told = _Told(results, strange, odd)
    click.echo(json.dumps(told.as_json(examples), indent=2) if as_json else told.as_text(examples), nl=as_json)
    if any(told.totals[Change(change)] for change in fail_on):
        sys.exit(FAILED)


def _store(settings: Settings, since: float) -> Counter[Fact]:
    try:
        database = open_database(settings.records_url, settings.state, read_only=True)
        try:
            return of_store(database, since)
        finally:
            database.close()
    except StoreAwayError as error:
        raise click.ClickException(f"the records cannot be read: {error}") from error


class _Told:
    """The outcome in words and as JSON."""

    def __init__(self, results: Sequence[Replayed], strange: int, odd: int) -> None:
        self._results, self._strange, self._odd = results, strange, odd
        self.totals = _count(results)
        self._inspected = sum(each.recorded.count for each in results if each.inspected)

    def as_text(self, examples: int) -> str:
        """Return the table by group, the examples, and what was left out; ends with a newline."""
        rows = [
            (group or "-", *(f"{counts[change]:,}" for change in Change)) for group, counts in self._by_group().items()
        ]
        text = columns(("GROUP", *(change.replace("-", " ").upper() for change in Change)), rows) if rows else ""
        for change in _CHANGES:
            shown, rest = self._examples(change, examples)
            if shown:
                text += f"\n{change.replace('-', ' ')}:\n" + columns(
                    ("COUNT", "GROUP", "REQUEST", "REASON"),
                    [(f"{each['count']:,}", each["group"] or "-", _request(each), each["reason"]) for each in shown],
                )
                text += f"(+{rest:,} more kinds of request)\n" if rest else ""
        return text + "".join(f"{line}\n" for line in self._notes())

    def as_json(self, examples: int) -> dict[str, Any]:
        """Return the same as values."""
        return {
            "totals": {str(change): self.totals[change] for change in Change},
            "groups": {
                group or "": {str(change): counts[change] for change in Change}
                for group, counts in self._by_group().items()
            },
            "examples": {str(change): self._examples(change, examples)[0] for change in _CHANGES},
            "now_inspected": self._inspected,
            "not_understood": self._strange,
            "malformed_hosts": self._odd,
        }

    def _by_group(self) -> dict[str | None, Counter[Change]]:
        found: dict[str | None, list[Replayed]] = defaultdict(list)
        for each in self._results:
            found[each.recorded.question.group].append(each)
        return {group: _count(found[group]) for group in sorted(found, key=lambda group: group or "")}

    def _examples(self, change: Change, most: int) -> tuple[list[dict[str, Any]], int]:
        hits = sorted((each for each in self._results if each.change is change), key=lambda each: -each.recorded.count)
        return [_example(each) for each in hits[:most]], max(0, len(hits) - most)

    def _notes(self) -> Iterable[str]:
        if not self._results:
            yield "nothing was recorded"
        if self._inspected:
            yield f"recorded as tunnels, inspected from now on: {self._inspected:,}; what they asked is not known"
        if self._strange:
            yield f"not understood: {self._strange:,} of the log's lines"
        if self._odd:
            yield f"malformed hosts, which stay blocked: {self._odd:,} requests"


def _count(results: Iterable[Replayed]) -> Counter[Change]:
    counts: Counter[Change] = Counter()
    for each in results:
        counts[each.change] += each.recorded.count
    return counts


def _example(each: Replayed) -> dict[str, Any]:
    question = each.recorded.question
    return {
        "count": each.recorded.count,
        "group": question.group,
        "method": question.method,
        "host": question.host.name,
        "port": question.port,
        "path": question.path,
        "reason": str(each.reason),
        "was": None if each.recorded.reason is None else str(each.recorded.reason),
    }


def _request(example: dict[str, Any]) -> str:
    host = f"[{example['host']}]" if ":" in example["host"] else example["host"]
    return f"{example['method'] or 'CONNECT'} {host}:{example['port']}{example['path'] or ''}"
