"""When a configuration is loaded anew: the reloader with real files."""

import asyncio
from pathlib import Path

from harness.loops import on_loop, until
from outward.config.load import Loaded, load
from outward.core.policy import Policy
from outward.ops.metrics import Metrics
from outward.ops.reload import SETTLING, Reloader
from outward.records.audit import AuditEvent

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
        await until(lambda: used)
    finally:
        watching.cancel()
    assert used[0] is not None
    assert len(used[0].groups["dev"].deny.all) == LINES + 1
    assert [(each.event_type, each.target) for each in audits] == [("policy_reloaded", used[0].generation)]
