"""What the shipped data, the file's own sets and this machine know about hosts, for proposals and warnings."""

from collections.abc import Collection, Iterator, Mapping
from datetime import date

from outward.config.conditions import ListPurpose
from outward.config.diagnostics import Level, Report
from outward.config.document import MappingNode, Node, at, parse
from outward.config.machine import Machine
from outward.config.rules import RuleCompiler
from outward.config.sets import Sets, shipped_sets
from outward.core.model import Place, Rule
from outward.core.rules import Rules

_PLACE = Place("sets", 0)
EXITS = ("relays", "tunnels", "webhooks", "pastes", "file-drops", "object-stores")  # the parts of `@exits`
WRITABLE = ("publish", "sign-in")


def exits() -> dict[str, Rules]:
    """Return the hosts through which anybody can send data out or fetch, by the set's name with `@`."""
    return {f"@{name}": Rules(_shipped(name)) for name in EXITS}


def writable() -> dict[str, Rules]:
    """Return the hosts that anybody with an account can write to, by the set's name with `@`."""
    return {f"@{name}": Rules(_shipped(name)) for name in WRITABLE}


def telemetry() -> dict[str, Rules]:
    """Return the hosts that programs report to beside their work, by the set's name with `@`."""
    return {"@telemetry": Rules(_shipped("telemetry"))}


def _shipped(name: str) -> tuple[Rule, ...]:
    compiler = RuleCompiler(Sets({}, {}, Report()), Report(), date.min)
    return compiler.compile_texts([f"@{name}"], _PLACE, ListPurpose.DENY)


def named(texts: Collection[str], machine: Machine, today: date) -> dict[str, tuple[Rule, ...]]:
    """Return the sets that may stand for lines, by name with `@`: the files' own, this machine's, and developers'.

    Args:
        texts: of the files that hold sets of their own.
        machine: discovery of the sets of package managers.
        today: the day in UTC.
    """
    own = _own(texts)
    shipped = [name for name in shipped_sets() if name == "developer" or name.startswith("developer-")]
    return dict(_compiled((*own, *machine, *shipped), own, machine, today))


def set_named(name: str, texts: Collection[str], machine: Machine, today: date) -> tuple[Rule, ...]:
    """Return what a set holds, as a configuration with these texts would take it.

    Args:
        name: with `@`.
        texts: of the files that hold sets of their own.
        machine: discovery of the sets of package managers.
        today: the day in UTC.

    Raises:
        ValueError: there is no such set, or it cannot be read; the message says which are near.
    """
    report = Report()
    rules = RuleCompiler(Sets(_own(texts), machine, report), report, today).compile_texts(
        [name], _PLACE, ListPurpose.ALLOW
    )
    if report.failed:
        first = next(each for each in report.sorted() if each.level is Level.ERROR)
        raise ValueError(f"{first.message}{f'; {first.help}' if first.help else ''}")
    return rules


def _own(texts: Collection[str]) -> dict[str, Node]:
    own: dict[str, Node] = {}
    for text in texts:
        sets = at(parse(text, "", Report()) or MappingNode("", 1, 1, 1), "sets")
        own |= sets.values if isinstance(sets, MappingNode) else {}
    return own


def _compiled(
    names: Collection[str], own: Mapping[str, Node], machine: Machine, today: date
) -> Iterator[tuple[str, tuple[Rule, ...]]]:
    for name in dict.fromkeys(names):
        report = Report()
        rules = RuleCompiler(Sets(own, machine, report), report, today).compile_texts(
            [f"@{name}"], _PLACE, ListPurpose.ALLOW
        )
        if rules and not report.failed:
            yield f"@{name}", rules
