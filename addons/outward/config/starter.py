"""The policy of `outward run` without a configuration: developers' hosts, and what this machine's tools are set up for.

Needs neither a file nor the schema, so that it is ready at once.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from hashlib import sha256

from outward.config.conditions import ListPurpose
from outward.config.diagnostics import Report
from outward.config.loaded import Loaded
from outward.config.machine import Machine, discoveries
from outward.config.rules import RuleCompiler
from outward.config.sets import Hosts, Sets
from outward.config.settings import Settings
from outward.core.addresses import Network
from outward.core.model import ClientEntry, Credential, Place
from outward.core.policy import Group, Policy
from outward.core.rules import Rules

GROUP = "local"
SETS = ("@developer", "@pip", "@npm", "@apt")
_PLACE = Place("starter policy", 1)


def starter_policy(
    *,
    env: Mapping[str, str] | None = None,
    vendor_of: Callable[[str], str | None] | None = None,
    machine: Machine | None = None,
) -> Loaded:
    """Return default settings and a policy with one group, `local`, that anyone belongs to.

    Args:
        env: the environment that package managers are asked in; None means the process's own.
        vendor_of: governed vendor of a host name.
        machine: discovery of the sets of package managers; None asks this machine.
    """
    report = Report()
    asked = _ask(discoveries(os.environ if env is None else env) if machine is None else machine)
    sets = Sets({}, asked, report)
    rules = RuleCompiler(sets, report, date.min).compile_texts(SETS, _PLACE, ListPurpose.ALLOW)
    names = "\n".join(f"{rule.pattern} {rule.ports}" for rule in rules)
    policy = Policy(
        generation=sha256(names.encode()).hexdigest()[:12],
        groups={GROUP: Group(GROUP, allow=Rules(rules))},
        clients=(ClientEntry(Credential.ANYONE, _PLACE, group=GROUP),),
    )
    if vendor_of is not None:
        policy = replace(policy, vendor_of=vendor_of)
    return Loaded(Settings(), policy, report.sorted(), (), {}, sets.discovered)


def as_file(entries: Iterable[str], internal: Iterable[Network], *, exact: bool = False) -> list[str]:
    """Return the lines of a configuration file that says what the starter policy says, and allows more.

    Args:
        entries: of `allow`, as a list in YAML has them: `- example.com`.
        internal: networks that were opened for the machine's mirrors.
        exact: whether it allows the entries alone.
    """
    opened = ", ".join(f'"{network}"' for network in internal)
    return [
        "version: 1",
        *([f"upstream: {{internal: [{opened}]}}"] if opened else []),
        f"clients: [{{group: {GROUP}, anyone: true}}]",
        "groups:",
        f"  {GROUP}:",
        "    allow:",
        # First, so that they come before what the sets say of the same hosts, and need no word of where they belong.
        *(f"      {entry.partition('  #')[0]}" for entry in entries),
        *(f'      - "{name}"' for name in SETS if not exact),
    ]


def _ask(machine: Machine) -> Machine:
    """Ask all package managers at the same time."""
    with ThreadPoolExecutor(max_workers=max(1, len(machine))) as pool:
        answers = {name: pool.submit(discover) for name, discover in machine.items()}
    return {name: _answer(future.result()) for name, future in answers.items()}


def _answer(hosts: Hosts) -> Callable[[], Hosts]:
    return lambda: hosts
