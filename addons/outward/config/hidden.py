"""`run --hide`: variables that the command gets as placeholders, whose values the proxy sets on its requests.

Owns the reading of the shipped table, `hidden.yaml`. Values are not kept here: the proxy reads them from its own
environment, as those of `secrets`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from outward.config.machine import Machine
from outward.config.places import own_file
from outward.config.settings import SecretEntry
from outward.core.model import Pattern, PatternKind
from outward.core.secrets import SHORTEST, Injection, masked

_TABLE = Path(__file__).with_name("hidden.yaml")
_UPLOAD = "upload."


class HideError(ValueError):
    """A variable cannot be hidden; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Hidden:
    """What is hidden from a command.

    Attributes:
        entries: as `secrets` would have them.
        bound: what is set for which host, where the command sends a placeholder.
        names: the secret that each variable stands for: two variables may hold one.
    """

    entries: tuple[SecretEntry, ...] = ()
    bound: Mapping[str, tuple[Injection, ...]] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)

    def environment(self, theirs: Mapping[str, str]) -> dict[str, str]:
        """Return an environment without the values: wherever one stands, also within another, its placeholder does."""
        values = {each.name: theirs[each.env] for each in self.entries if each.env and theirs.get(each.env)}
        return {name: masked(text, values) for name, text in theirs.items()}


def hide_variables(variables: Iterable[str], environ: Mapping[str, str], machine: Machine) -> Hidden:
    """Return what hides variables.

    Args:
        variables: their names.
        environ: where they are set.
        machine: discovery of the machine's package managers, for their registries' tokens.

    Raises:
        HideError: one is not set, or is not known, or cannot be hidden.
    """
    table, names, owners = _table(), dict[str, str](), dict[str, str]()
    bound: dict[str, dict[str, tuple[Injection, str]]] = {}
    less: list[tuple[str, Injection, str]] = []
    for variable in dict.fromkeys(variables):
        row, value = table.get(variable), environ.get(variable)
        if row is None:
            raise HideError(_unknown(variable, own_file(environ)))
        if "refused" in row:
            raise HideError(f"{variable} cannot be hidden: {row['refused']}")
        if not value:
            raise HideError(f"{variable} is not set")
        if len(value) < SHORTEST:
            raise HideError(f"{variable} has fewer than {SHORTEST} characters: that is no secret")
        name = names[variable] = owners.setdefault(value, variable)
        hosts = tuple(_hosts(row["hosts"], machine))
        if not hosts:
            raise HideError(f"this machine names no host that {variable} is sent to: configure its registry first")
        for host in hosts:
            other = bound.setdefault(host, {}).setdefault(row["header"], (_injection(row, name), variable))[1]
            if names[other] != name:
                raise HideError(f"{other} and {variable} are both sent to {host} in {row['header']}: hide one of them")
            less += [(host, _injection(row["also"], name), variable)] if "also" in row else []
    for host, injection, variable in less:  # where the header is not another variable's
        bound[host].setdefault(injection.header, (injection, variable))
    return Hidden(
        tuple(SecretEntry(name, name, None, tuple(_patterns(bound, name))) for name in dict.fromkeys(names.values())),
        {host: tuple(injection for injection, _ in each.values()) for host, each in bound.items()},
        names,
    )


def known(environ: Mapping[str, str]) -> list[str]:
    """Return the variables that are set, to more than a dummy (`none`, `EMPTY`), and that the table can hide."""
    return [name for name, row in _table().items() if "refused" not in row and len(environ.get(name, "")) >= SHORTEST]


def _unknown(variable: str, own: Path | None) -> str:
    """Return what to do where the table knows no variable of a name."""
    if "," in variable:
        return f"{variable} is no variable's name: give --hide once for each"
    name = variable.lower()
    return (
        f"nobody here knows where {variable} is sent. Write it into {own or 'a file'}, or a file that you name with"
        " --config (a working tree's own may hold no secrets). For api.example.com it would be:\n\n"
        f"secrets:\n  {name}: {{env: {variable}, hosts: [api.example.com]}}\n\n"
        "and under `allow` of your group:\n\n"
        f'  - {{host: api.example.com, inject: {{header: Authorization, value: "Bearer {{{name}}}"}}}}'
    )


def _table() -> dict[str, dict[str, Any]]:
    table: dict[str, dict[str, Any]] = yaml.safe_load(_TABLE.read_text(encoding="utf-8"))
    return table


def _injection(row: Mapping[str, str], name: str) -> Injection:
    template = (row.get("basic") or row["value"]).replace("{}", f"{{{name}}}")
    return Injection(row["header"], template, "basic" in row, always=False)


def _hosts(written: Iterable[str], machine: Machine) -> Iterator[str]:
    for text in written:
        if "@" not in text:
            yield text
            continue
        found = machine[text.partition("@")[2]]().entries
        hosts = (entry.partition(":")[0] for entry in found if "*" not in entry)
        yield from (f"{_UPLOAD}{host}" if text.startswith(_UPLOAD) else host for host in hosts)


def _patterns(bound: Mapping[str, Mapping[str, tuple[Injection, str]]], name: str) -> Iterator[Pattern]:
    for host, each in bound.items():
        if any(name in injection.names for injection, _ in each.values()):
            yield Pattern(PatternKind.EXACT, host)
