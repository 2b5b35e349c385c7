"""`outward explain`: how a URL is decided for a group, step by step."""

import json
import os
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from outward.cli.common import called, find_config, load_or_exit, load_starter
from outward.cli.doubts import doubt_about
from outward.cli.explain_code import explain_code, is_code, no_reason
from outward.cli.options import config_option
from outward.cli.private import NoGroupError, choose_group
from outward.cli.reach import elsewhere, meet
from outward.cli.trusting import mention
from outward.config.known import set_named
from outward.config.loaded import Loaded
from outward.config.machine import discoveries
from outward.config.settings import Settings
from outward.core.entries import written
from outward.core.explain import DecisionTrace, Step
from outward.core.explain import explain as trace_of
from outward.core.grants import granting, takes_grants
from outward.core.model import Lane
from outward.core.policy import Policy
from outward.core.reasons import MEANINGS, Reason
from outward.core.suggest import cure
from outward.core.urls import question_of

DENIED = 4  # exit code
_DECISION = re.compile(r"[0-9a-f]{32}")


@click.command()
@click.argument("url", required=False)
@click.option("--group", "-g", help="Path of the client's group; default: the one for anyone, or the only one.")
@click.option("--method", "-X", help="HTTP method; default: GET for a URL with a path, else the connection alone.")
@click.option("--resolve", is_flag=True, help="Ask the name servers too, and judge the addresses that they give.")
@click.option("--search", is_flag=True, help="Show what each vendor's hosted search would be sent, instead of a URL.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@config_option
def explain(
    url: str | None,
    *,
    group: str | None,
    method: str | None,
    resolve: bool,
    search: bool,
    as_json: bool,
    config: Path | None,
) -> None:
    """Show how URL (or host, or host:port) is decided for a group: the rules considered, and the one that decided.

    Given the name of a set, such as @developer, it shows what that set holds; given a code of `check`, such as E012,
    or a reason, such as no_rule, what that means.

    Asks no name server, unless told to. Exits with 0 when it is allowed, and with 4 when it is denied.

    With --search it shows, for each vendor, the domains
    that a hosted search would be sent, what the vendor's filter cannot say, and the line that would make it sayable.
    """
    if search == (url is not None):
        raise click.UsageError(
            "give a URL or a host, a set (@developer), a code of `check` (E012), a reason (no_rule), or --search alone"
        )
    if url is not None and _DECISION.fullmatch(url):
        raise click.UsageError(f"that is a decision: `{called()} blocked --id {url}` shows it")
    if url is not None and is_code(url):
        explain_code(url, as_json=as_json)
        return
    if url is not None and (told := no_reason(url)):
        raise click.UsageError(told)
    loaded = _loaded(config, as_json=as_json)
    if url is not None and url.startswith("@"):
        _explain_set(loaded, url, as_json=as_json)
        return
    policy, settings, chosen = _chosen(loaded, group)
    if url is None:
        _explain_search(policy, chosen, as_json=as_json)
        return
    try:
        question = question_of(url, chosen, method)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    policy = _granted(policy, settings, chosen)
    trace = meet(policy, settings, trace_of(policy, question), resolve=resolve)
    other = elsewhere(settings, trace)
    click.echo(json.dumps(_as_json(trace), indent=2) if as_json else _as_text(trace, other))
    if not trace.decision.allowed:
        sys.exit(DENIED)


def _chosen(loaded: Loaded, group: str | None) -> tuple[Policy, Settings, str]:
    """Return the policy, the settings and the path of the group that is meant."""
    policy, settings = loaded.policy, loaded.settings
    if policy is None or settings is None:
        raise click.ClickException("the configuration has no policy")
    try:
        return policy, settings, choose_group(policy, group)
    except NoGroupError as error:
        raise click.UsageError(str(error)) from error


def _explain_set(loaded: Loaded, name: str, *, as_json: bool) -> None:
    """Print the entries of a set, and the file that holds them."""
    try:
        rules = set_named(name, loaded.sources.values(), discoveries(os.environ), datetime.now(UTC).date())
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    entries = [written(rule) for rule in rules]
    if as_json:
        click.echo(json.dumps({"set": name, "entries": entries}, indent=2))
        return
    click.echo(f"{name}: {len(entries)} {'entry' if len(entries) == 1 else 'entries'}")
    for entry in entries:
        click.echo(f"  - {entry}")


def _granted(policy: Policy, settings: Settings, group: str) -> Policy:
    """Return a policy with what is granted at run time, as the store has it; a store that is away grants nothing."""
    if not takes_grants(policy, group):
        return policy
    from outward.records.database import StoreAwayError, open_database  # noqa: PLC0415 - few groups take grants
    from outward.records.state.requests import grants_since  # noqa: PLC0415 - as above

    try:
        database = open_database(settings.records_url, settings.state, read_only=True)
        try:
            found = [grant for grant, ended in grants_since(database, -1) if not ended]
        finally:
            database.close()
    except StoreAwayError:
        return policy
    return granting(policy, found, int(time.time() * 1000))


def _loaded(config: Path | None, *, as_json: bool) -> Loaded:
    """Load the configuration; without one, what `run` starts with."""
    choice = find_config(config)
    if choice.file is None:
        click.echo("outward: no configuration: this is what `outward run` allows without one", err=True)
        return load_starter()
    loaded = load_or_exit(choice, as_json=as_json, hold=False)
    mention(loaded)
    return loaded


def _explain_search(policy: Policy, path: str, *, as_json: bool) -> None:
    """Print what each vendor's hosted search would be sent under the file's settings."""
    from outward.cli.explain_search import as_text  # noqa: PLC0415 - loads every adapter
    from outward.search.explain import explain_search  # noqa: PLC0415 - the same

    group = policy.groups[path]
    settings, tools = group.web_search, explain_search(policy, group)
    if as_json:
        facts = {"group": group.path, "enabled": settings.enabled, "opt_in": settings.opt_in, "filter": settings.filter}
        click.echo(json.dumps({**facts, "tools": [tool.as_json() for tool in tools]}, indent=2))
        return
    click.echo(as_text(group, tools))


def _as_text(trace: DecisionTrace, other: str | None) -> str:
    question, decision = trace.question, trace.decision
    asked = f"{question.method or 'CONNECT'} {question.host}:{question.port}{question.path or ''}"
    verdict = "allowed" if decision.allowed else "denied"
    lines = [f"{asked}: {verdict}, {decision.reason}", f"  {MEANINGS[decision.would_reason or decision.reason].title}."]
    if decision.would_reason:
        lines.append(f"  Report mode lets it through; enforced, it would be denied: {decision.would_reason}.")
    lines.append(f"  groups  {' < '.join(trace.chain)} (mode {decision.mode})")
    if decision.allowed and decision.lane:
        governed = f", governed as {decision.vendor}" if decision.vendor else ""
        unseen = "" if trace.judged == question else "; method and path are not seen in it"
        lines.append(f"  lane    {decision.lane}{governed}{unseen}")
        if decision.lane is Lane.INSPECT and not question.clear:
            lines.append("          HTTP/1.1 and WebSocket; HTTP/2 (gRPC) with a client and a host that both speak it")
    set_there = decision.inject if decision.allowed else ()
    lines += [f"  sets    {each.header}, from {' and '.join(each.names)}" for each in set_there]
    lines.append("  rules   " + ("considered in this order:" if trace.steps else "none is about this host"))
    lines += [f"    {'=>' if step.decided else '  '} {_step(step)}" for step in trace.steps]
    if trace.ceiling and not decision.allowed:
        lines.append(f"  The ceiling of `{trace.ceiling}` does not admit it; an entry below would have no effect.")
    if trace.closed:
        lines.append(f"  address {question.host.name} is not dialled ({trace.closed}), whatever the rules say")
        lines.append(f"  {cure(Reason.ADDRESS_NOT_PUBLIC, question.host.name, trace.address)}")
    if trace.entry:
        lines += [f"  This entry under `allow` of `{question.group}` would allow it:", f"    {trace.entry.line}"]
        doubt = doubt_about(trace.entry)
        lines += [f"  Look first: {doubt}."] if doubt else []
    elif not decision.allowed and not trace.closed:
        lines.append(f"  {cure(decision.reason, question.host.name, line=False)}")
    if other:
        lines.append(f"  {other}")
    return "\n".join(lines)


def _step(step: Step) -> str:
    return f"{step.kind:5} {step.rule.pattern}  {step.outcome}  ({step.group}, {step.rule.place})"


def _as_json(trace: DecisionTrace) -> dict[str, Any]:
    question, decision = trace.question, trace.decision
    return {
        "verdict": decision.verdict.name.lower(),
        "reason": decision.reason,
        "group": question.group,
        "host": question.host.name,
        "port": question.port,
        "method": question.method,
        "path": question.path,
        "lane": decision.lane,
        "mode": decision.mode,
        "would_deny": decision.would_deny,
        "would_reason": decision.would_reason,
        "vendor": decision.vendor,
        "inject": [{"header": each.header, "secrets": each.names} for each in decision.inject if decision.allowed],
        "chain": trace.chain,
        "steps": [
            {
                "group": step.group,
                "kind": step.kind,
                "pattern": str(step.rule.pattern),
                "file": step.rule.place.file,
                "line": step.rule.place.line,
                "outcome": step.outcome,
                "decided": step.decided,
            }
            for step in trace.steps
        ],
        "ceiling": trace.ceiling,
        "closed": trace.closed,
        "suggestion": trace.suggestion,
        "doubt": (doubt_about(trace.entry) if trace.entry else "") or None,
        "generation": decision.generation,
    }
