"""When a configuration is loaded anew: the reloader with real files."""

import asyncio
import itertools
from pathlib import Path

import pytest

from harness.loops import on_loop, until
from outward.config.load import Loaded, load
from outward.core.policy import Policy
from outward.ops import reload
from outward.ops.metrics import Metrics
from outward.ops.reload import SETTLING, Reloader
from outward.records.audit.values import AuditEvent

START = "version: 1\ngroups:\n  dev:\n    allow: ['*.wild.test']\n    deny:\n      - secret.wild.test\n"
LINES = 40


@on_loop
async def test_a_file_is_not_loaded_while_it_is_being_written(tmp_path: Path) -> None:
    """Each state of it loads; all but the last miss what is to be denied."""
    path = tmp_path / "outward.yaml"
    path.write_text(START)

    def again(_restless: frozenset[str] = frozenset()) -> Loaded:
        return load(path, env={}, machine={})

    used: list[Policy | None] = []
    audits: list[AuditEvent] = []
    reloader = Reloader(again(), again, lambda loaded: used.append(loaded.policy), Metrics(), audits.append)
    watching = asyncio.create_task(reloader.watch())
    try:
        with path.open("a") as file:
            for number in range(LINES):
                file.write(f"      - n{number}.wild.test\n")
                file.flush()
                await asyncio.sleep(SETTLING / 4)  # as a slow writer does
        await until(lambda: audits)  # what comes last
    finally:
        watching.cancel()
    assert used[0] is not None
    assert len(used[0].groups["dev"].deny.all) == LINES + 1
    assert [(each.event_type, each.target) for each in audits] == [("policy_reloaded", used[0].generation)]


@pytest.fixture
def company(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A main file and two teams' files, looked at often."""
    monkeypatch.setattr(reload, "INTERVAL", 0.02)
    monkeypatch.setattr(reload, "SETTLING", 0.02)
    (tmp_path / "outward.yaml").write_text(
        "version: 1\ninclude: [{files: busy.yaml, under: busy}, {files: calm.yaml, under: calm}]\n"
    )
    (tmp_path / "busy.yaml").write_text("groups: {busy: {allow: [first.test]}}\n")
    (tmp_path / "calm.yaml").write_text("groups: {calm: {allow: [a.test]}}\n")
    return tmp_path


def hosts(loaded: Loaded, group: str) -> list[str]:
    """Return what a group allows."""
    assert loaded.policy is not None
    return [str(rule.pattern) for rule in loaded.policy.groups[group].allow.all]


@on_loop
async def test_a_confined_file_that_changes_all_the_time_holds_nobody_else_up(company: Path) -> None:
    """Its own subtree stays as it was; a change of the main file, and of others', is taken up."""
    used = [load(company / "outward.yaml", env={}, machine={})]
    busy = company / "busy.yaml"

    def again(names: frozenset[str]) -> Loaded:
        return load(company / "outward.yaml", env={}, machine={}, before=used[-1], restless=names)

    async def write() -> None:
        while True:
            busy.write_text(f"groups: {{busy: {{allow: [n{next(numbers)}.test]}}}}\n")
            await asyncio.sleep(0.002)

    numbers = itertools.count()
    reloader = Reloader(used[0], again, used.append, Metrics(), lambda _event: None)
    tasks = [asyncio.create_task(each) for each in (write(), reloader.watch())]
    try:
        await until(lambda: next(numbers) > 5)
        (company / "calm.yaml").write_text("groups: {calm: {allow: [b.test]}}\n")
        await until(lambda: hosts(used[-1], "calm") == ["b.test"])
        assert hosts(used[-1], "busy") == ["first.test"]
        tasks[0].cancel()
        busy.write_text("groups: {busy: {allow: [last.test]}}\n")
        await until(lambda: hosts(used[-1], "busy") == ["last.test"])
    finally:
        for task in tasks:
            task.cancel()


@on_loop
async def test_a_confined_file_that_changes_while_it_is_read_holds_nobody_else_up(company: Path) -> None:
    """At every load, and at rest between them; what was read of it is not used."""
    used = [load(company / "outward.yaml", env={}, machine={})]
    numbers = itertools.count()

    def again(names: frozenset[str]) -> Loaded:
        loaded = load(company / "outward.yaml", env={}, machine={}, before=used[-1], restless=names)
        (company / "busy.yaml").write_text(f"groups: {{busy: {{allow: [n{'0' * next(numbers)}.test]}}}}\n")
        return loaded

    reloader = Reloader(used[0], again, used.append, Metrics(), lambda _event: None)
    watching = asyncio.create_task(reloader.watch())
    try:
        (company / "calm.yaml").write_text("groups: {calm: {allow: [b.test]}}\n")
        await until(lambda: hosts(used[-1], "calm") == ["b.test"])
        assert hosts(used[-1], "busy") == ["first.test"]
    finally:
        watching.cancel()
