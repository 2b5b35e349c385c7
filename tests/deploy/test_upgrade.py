"""Upgrades on one PostgreSQL: two releases side by side, a rollback, and a migration that an older release cannot live with.

The next release is this one with one more migration: a copy of the package that the new processes import.
"""

import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import outward
from harness.fleet import Load, refused, written
from harness.postgres import Server, postgres
from harness.process import Served
from harness.sse import Sse, Stream, streaming
from harness.waiting import PATIENCE, wait_for
from outward.records.database import StoreAwayError, migrations, open_database

STREAMS = 24
NEXT = migrations()[-1][0] + 1
ADDS = """
ALTER TABLE events ADD COLUMN of_the_future TEXT;
CREATE TABLE of_the_future (id TEXT NOT NULL PRIMARY KEY);
INSERT INTO of_the_future (id) SELECT id FROM events;
"""

pytestmark = pytest.mark.slow


@pytest.fixture
def server() -> Iterator[Server]:
    """A PostgreSQL server with an empty database."""
    with postgres() as running:
        yield running


def release(folder: Path, number: int, migration: str) -> str:
    """Make a release with one more migration and return where it is imported from."""
    shutil.copytree(Path(outward.__file__).parent, folder / "outward")
    (folder / "outward" / "records" / "migrations" / f"{number:04}_next.sql").write_text(migration)
    return str(folder)


class Fleet(ExitStack):
    """Proxies on one database, each with a state directory of its own."""

    def __init__(self, folder: Path, url: str, port: int = 1) -> None:
        super().__init__()
        self._folder, self._url, self._port = folder, url, port

    def start(self, name: str, **more: str) -> Served:
        """Start a proxy; the same name has the same state directory."""
        home = self._folder / name
        home.mkdir(exist_ok=True)
        (home / "outward.yaml").write_text(
            f"version: 1\nserver: {{listen: '127.0.0.1:0', ops: '127.0.0.1:0', state: '{home}/state', grace: 30s}}\n"
            f"records: {{url: '{self._url}'}}\n"
            "upstream: {internal: [127.0.0.1/32], dns: {hosts: {origin.test: [127.0.0.1]}}}\n"
            f"groups: {{dev: {{allow: [{{host: origin.test, ports: [{self._port}], tls: false}}]}}}}\n"
            "clients: [{group: dev, anyone: true}]\n"
        )
        served = Served(home / "outward.yaml", **more)
        self.callback(served.end)
        return served


def versions(server: Server, folder: Path) -> set[int]:
    """Return the migrations that a database has had; a proxy migrates it beside its start."""
    database = open_database(server.url, folder)
    try:
        return {row[0] for row in database.execute("SELECT version FROM schema_version")}
    except StoreAwayError:  # there is no such table yet
        return set()
    finally:
        database.close()


def stop(served: Served) -> None:
    """Stop a proxy in order."""
    served.signal(signal.SIGTERM)
    assert served.wait() == 0


def test_a_rolling_upgrade_and_its_rollback_cut_no_stream_and_lose_no_record(server: Server, tmp_path: Path) -> None:
    """The new release migrates under load while the old one writes on and drains; then the other way round."""
    newer = release(tmp_path / "next", NEXT, ADDS)
    with streaming() as port, Fleet(tmp_path, server.url, port) as fleet:
        old = fleet.start("old")
        wait_for(lambda: versions(server, tmp_path))
        assert NEXT not in versions(server, tmp_path)
        loads = [Load(old.proxy, 100)]
        streams = [Stream(old.proxy, port, tunnel=bool(number % 2)) for number in range(STREAMS)]
        wait_for(lambda: all(b"data: 0" in each.got for each in streams) and len(loads[0].decisions) > 50)
        new = fleet.start("new", PYTHONPATH=newer)
        wait_for(lambda: NEXT in versions(server, tmp_path))
        loads.append(Load(new.proxy, 100))
        side_by_side = [len(each.decisions) for each in loads]
        wait_for(lambda: all(len(each.decisions) > had + 50 for each, had in zip(loads, side_by_side, strict=True)))
        loads[0].stop()
        old.signal(signal.SIGTERM)
        wait_for(lambda: "draining" in old.log)
        Sse.go_on.set()
        assert old.wait() == 0
        back = fleet.start("back")
        loads.append(Load(back.proxy, 100))
        wait_for(lambda: len(loads[2].decisions) > 50)
        for load in loads[1:]:
            load.stop()
        stop(new)
        stop(back)
        for stream in streams:
            stream.join(PATIENCE)
        cut = sum(not each.whole for each in streams)
        told = {decision for load in loads for decision in load.decisions}
        lost = told - written(server.url, tmp_path)
        print(f"streams in flight {STREAMS}, cut {cut}; denials told {len(told)}, not in the database {len(lost)}")
        assert (cut, lost) == (0, set())
        assert len(written(server.url, tmp_path)) == len(told) + STREAMS


def test_an_older_release_spills_what_a_migration_keeps_it_from_writing(server: Server, tmp_path: Path) -> None:
    """It says so, serves on, and what it spilled is written by the newer release on its state directory."""
    number = (NEXT // 100 + 1) * 100
    newer = release(tmp_path / "next", number, "CREATE TABLE breaking (id TEXT);\n")
    with Fleet(tmp_path, server.url) as fleet:
        stop(fleet.start("new", PYTHONPATH=newer))
        assert number in versions(server, tmp_path)
        old = fleet.start("old")
        told = {refused(old.proxy, f"h{index}.example.org") for index in range(20)}
        wait_for(lambda: "spilling to disk" in old.log)
        assert f"schema version {number}" in old.log
        stop(old)
        assert not told & written(server.url, tmp_path)
        fleet.start("old", PYTHONPATH=newer)
        wait_for(lambda: told <= written(server.url, tmp_path))
