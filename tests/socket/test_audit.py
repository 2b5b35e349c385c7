"""The audit chain: whatever is done to rows, columns, heads or keys shows, and several writers get along."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.admin import POLICY
from harness.full_disk import fill, free, small_disk
from harness.records import Counts, act, append
from harness.waiting import wait_for
from outward.cli.main import main
from outward.ops.chainwatch import ChainWatch
from outward.records.audit.chain import COLUMNS, Chain, ChainError, begin
from outward.records.audit.values import as_record
from outward.records.audit.verify import ChainReport, verify
from outward.records.database import Database, migrate, open_database
from outward.records.events.recorder import Recorder


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Open a store with a chain of ten rows."""
    opened = open_database("sqlite", tmp_path)
    migrate(opened)
    chain = Chain(tmp_path)
    for number in range(10):
        append(chain, opened, act(f"chat-{number}"))
    yield opened
    opened.close()


def test_an_untouched_chain_verifies(database: Database, tmp_path: Path) -> None:
    report = verify(database, tmp_path)
    assert (report.ok, report.rows, list(report.chains.values())) == (True, 10, [10])


def test_an_unused_chain_verifies(tmp_path: Path) -> None:
    begin("sqlite", tmp_path)
    opened = open_database("sqlite", tmp_path)
    migrate(opened)
    assert verify(opened, tmp_path).ok
    Chain(tmp_path)
    assert verify(opened, tmp_path).ok
    opened.close()


@pytest.mark.parametrize("kept", [(), ("audit.lock",), ("audit.head",)], ids=["nothing", "the lock", "the head"])
@pytest.mark.parametrize("rows", [True, False], ids=["tables emptied too", "never used"])
def test_a_chain_that_was_erased_is_missed(tmp_path: Path, kept: tuple[str, ...], rows: bool) -> None:
    """Whoever can write the state can empty the tables and remove the key with all that names the chain."""
    begin("sqlite", tmp_path)
    opened = open_database("sqlite", tmp_path)
    migrate(opened)
    if rows:
        append(Chain(tmp_path), opened, act("one"))
        opened.execute("DELETE FROM audit_events")
        opened.execute("DELETE FROM chain_heads")
    for path in tmp_path.glob("audit.*"):
        if path.name not in kept:
            path.unlink()
    begin("sqlite", tmp_path)  # the next start makes no new chain that would hide it
    assert not verify(opened, tmp_path).ok
    opened.close()


def test_a_database_that_was_removed_is_missed(database: Database, tmp_path: Path) -> None:
    (tmp_path / "records.sqlite").unlink()
    fresh = open_database("sqlite", tmp_path)
    migrate(fresh)
    assert not verify(fresh, tmp_path).ok
    fresh.close()


TAMPERINGS = {
    "a row in the middle is deleted": ["DELETE FROM audit_events WHERE seq = 5"],
    "the first row is deleted": ["DELETE FROM audit_events WHERE seq = 1"],
    "the last row is cut off": ["DELETE FROM audit_events WHERE seq = 10"],
    "half is cut off": ["DELETE FROM audit_events WHERE seq > 5"],
    "everything is deleted": ["DELETE FROM audit_events"],
    "everything is deleted, and the head with it": ["DELETE FROM audit_events", "DELETE FROM chain_heads"],
    "the tail and the head in the database are cut": [
        "DELETE FROM audit_events WHERE seq > 5",
        "UPDATE chain_heads SET (seq, hash, signature) = (SELECT seq, hash, signature FROM audit_events WHERE seq = 5)",
    ],
    "the head in the database is deleted": ["DELETE FROM chain_heads"],
    "a body is edited": ["UPDATE audit_events SET body = replace(body, 'acme/a', 'acme/b') WHERE seq = 4"],
    "a person's field is edited": ["UPDATE audit_events SET private = replace(private, 'chat-3', 'chat-X') WHERE seq = 4"],
    "a person's fields are another row's": ["UPDATE audit_events SET private = (SELECT private FROM audit_events WHERE seq = 5) WHERE seq = 4"],
    "a person's fields are gone, and nobody erased them": ["UPDATE audit_events SET private = NULL, target = NULL WHERE seq = 4"],
    "a byte is added to a body": ["UPDATE audit_events SET body = body || ' ' WHERE seq = 10"],
    "two rows change places": [
        "UPDATE audit_events SET seq = -seq WHERE seq IN (4, 5)",
        "UPDATE audit_events SET seq = 9 + seq WHERE seq < 0",
    ],
    "rows are renumbered over a gap": [
        "DELETE FROM audit_events WHERE seq = 1",
        "UPDATE audit_events SET seq = -(seq - 1)",
        "UPDATE audit_events SET seq = -seq",
    ],
    "a row is copied": [
        "CREATE TEMP TABLE copy AS SELECT * FROM audit_events WHERE seq = 10",
        "UPDATE copy SET seq = 11, id = 'copy'",
        "INSERT INTO audit_events SELECT * FROM copy",
    ],
    "the chain is renamed": ["UPDATE audit_events SET chain = substr(chain, 2) || substr(chain, 1, 1)"],
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_breaks_the_chain(database: Database, tmp_path: Path, name: str) -> None:
    for statement in TAMPERINGS[name]:
        database.execute(statement)
    assert not verify(database, tmp_path).ok, name
    assert not verify(database, tmp_path, signatures=False).ok, name


def test_a_verification_goes_on_where_the_last_one_ended(database: Database, tmp_path: Path) -> None:
    """New rows are verified, old ones counted."""
    first = verify(database, tmp_path)
    append(Chain(tmp_path), database, act("chat-10"))
    again = verify(database, tmp_path, after=first, signatures=False)
    assert (again.ok, again.rows, list(again.chains.values())) == (True, 11, [11])
    for damage in ("DELETE FROM audit_events WHERE seq = 4", "UPDATE audit_events SET body = '{}' WHERE seq = 11"):
        database.execute("BEGIN")
        database.execute(damage)
        assert not verify(database, tmp_path, after=first).ok, damage
        database.execute("ROLLBACK")


def test_the_page_says_what_is_known_while_a_verification_runs() -> None:
    """One runs at a time, the next goes on from its report, and after an hour everything is verified again."""
    now, go, asked = [0.0], threading.Event(), []

    def check(after: ChainReport | None) -> ChainReport:
        asked.append(after)
        go.wait(60)
        return ChainReport(rows=len(asked))

    watch = ChainWatch(check, lambda: now[0])
    assert watch.report(0.0) is None
    assert watch.report(0.0) is None
    go.set()
    first = watch.report(10)
    assert first is not None
    assert first.rows == len(asked) == 1
    assert watch.report(10) is not first
    now[0] = 3600.0
    watch.report(10)
    assert asked == [None, first, None]


@pytest.mark.parametrize("column", COLUMNS)
def test_no_column_of_any_row_can_be_changed(database: Database, tmp_path: Path, column: str) -> None:
    """The columns for filters are not signed by themselves, but must say what the signed body says."""
    value = "77" if column in ("seq", "time_ms") else "'changed'"
    for seq in (1, 6, 10):
        database.execute("BEGIN")
        database.execute(f"UPDATE audit_events SET {column} = {value} WHERE seq = ?", (seq,))
        assert not verify(database, tmp_path).ok, (column, seq)
        database.execute("ROLLBACK")


def test_a_forged_row_at_the_end_shows_although_it_hangs_together(database: Database, tmp_path: Path) -> None:
    """Whoever can write to the database but does not hold the key can compute hashes, not signatures."""
    other = Chain(tmp_path / "elsewhere")
    own = Chain(tmp_path)
    other.name = own.name  # signs with another key under this chain's name
    with database.transaction(), pytest.raises(ChainError):
        other.append(database, [as_record(act())])
    row = database.execute("SELECT * FROM audit_events WHERE seq = 10")[0]
    forged = (row[0], 11, "f" * 64, row[3], row[4], "forged", *row[6:])
    database.insert(f"INSERT INTO audit_events VALUES ({', '.join('?' * len(forged))})", [forged])
    report = verify(database, tmp_path)
    assert any("row 11: its signature" in problem for problem in report.problems)


@pytest.mark.parametrize("damage", ["removed", "emptied", "of another chain", "edited"])
def test_damage_to_the_head_on_disk_breaks_the_chain_or_stops_the_writer(
    database: Database, tmp_path: Path, damage: str
) -> None:
    head = tmp_path / "audit.head"
    if damage == "removed":
        head.unlink()
    elif damage == "emptied":
        head.write_bytes(b"")
    elif damage == "of another chain":
        Chain(tmp_path / "other")
        head.write_bytes((tmp_path / "other" / "audit.head").read_bytes())
    elif damage == "edited":
        head.write_bytes(head.read_bytes().replace(b'"seq":10', b'"seq":11'))
    assert not verify(database, tmp_path).ok
    with pytest.raises(ChainError):
        Chain(tmp_path)


def test_rows_behind_the_head_are_no_break(database: Database, tmp_path: Path) -> None:
    """A kill between the commit and the head leaves the head behind; each row is signed, so nothing is in doubt."""
    chain = Chain(tmp_path)
    with database.transaction():
        chain.append(database, [as_record(act("unsaved"))])
    assert verify(database, tmp_path).ok
    append(Chain(tmp_path), database, act("after"))
    report = verify(database, tmp_path)
    assert (report.ok, list(report.chains.values())) == (True, [12])


def test_a_gap_stays_visible_when_more_is_written(database: Database, tmp_path: Path) -> None:
    database.execute("DELETE FROM audit_events WHERE seq > 7")
    append(Chain(tmp_path), database, act("later"))
    report = verify(database, tmp_path)
    assert any("missing between 7 and 11" in problem for problem in report.problems)


def test_a_lost_key_does_not_start_a_chain_over(database: Database, tmp_path: Path) -> None:
    (tmp_path / "audit.key").unlink()
    with pytest.raises(ChainError):
        Chain(tmp_path)
    assert not verify(database, tmp_path).ok


def test_the_key_is_for_its_owner_only(database: Database, tmp_path: Path) -> None:
    for name in ("audit.key", "audit.head"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_an_event_that_is_replayed_is_appended_once(database: Database, tmp_path: Path) -> None:
    event = act("once")
    chain = Chain(tmp_path)
    append(chain, database, event)
    append(chain, database, event)
    assert verify(database, tmp_path).rows == 11


def test_a_damaged_chain_is_counted_and_shown_as_unhealthy(database: Database, tmp_path: Path) -> None:
    (tmp_path / "audit.head").write_bytes(b"")
    recorder = Recorder("sqlite", tmp_path, counts := Counts(), retention=1e6)
    recorder.start()
    recorder.audit(act())
    wait_for(lambda: counts.dropped == {"audit": 1})
    assert recorder.problem
    recorder.close(10)


def test_a_full_disk_leaves_no_half_made_key(tmp_path: Path) -> None:
    """The file system has room for the names of files, and for nothing in them."""
    with small_disk(tmp_path / "state") as state:
        fill(state)
        with pytest.raises(ChainError, match="No space left on device"):
            Chain(state)
        assert not (state / "audit.key").exists()
        free(state)
        assert Chain(state).name == Chain(state).name


@pytest.mark.parametrize("begun", [{"audit.key": b""}, {"audit.head": None}], ids=["an empty key", "a head at 0"])
def test_a_key_that_signed_nothing_is_made_anew(tmp_path: Path, begun: dict[str, bytes | None]) -> None:
    old = Chain(tmp_path).name
    for name in ("audit.key", "audit.head"):
        if name not in begun:
            (tmp_path / name).unlink()
        elif (data := begun[name]) is not None:
            (tmp_path / name).write_bytes(data)
    assert Chain(tmp_path).name != old


@pytest.mark.parametrize("data", [b"", b"-----BEGIN"], ids=["empty", "cut"])
def test_a_damaged_key_is_told_in_one_line_with_its_cure(database: Database, tmp_path: Path, data: bytes) -> None:
    """By whatever verb meets it; and what it says helps."""
    (tmp_path / "outward.yaml").write_text(POLICY.format(state=tmp_path))
    (tmp_path / "audit.key").write_bytes(data)
    words = ("token", "create", "--scope", "all"), ("web-search", "disable", "acme/platform"), ("audit", "verify")
    for verb in words:
        done = CliRunner().invoke(main, [*verb, "--config", str(tmp_path / "outward.yaml")])
        assert (done.exit_code, type(done.exception)) == (1, SystemExit)
        (told,) = [line for line in done.output.splitlines() if "audit.key" in line]
        assert "restore audit.key and audit.head from a backup; or move both away" in told
    for name in ("audit.key", "audit.head"):
        (tmp_path / name).rename(tmp_path / f"old-{name}")
    for verb in words:
        assert CliRunner().invoke(main, [*verb, "--config", str(tmp_path / "outward.yaml")]).exit_code == 0


def test_a_damaged_key_is_told_at_the_start_until_it_is_cured(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Before the first event: a proxy that is not ready may get none."""
    (key := tmp_path / "audit.key").rename(tmp_path / "kept")
    key.write_bytes(b"")
    recorder = Recorder("sqlite", tmp_path, Counts(), retention=1e6)
    recorder.start()
    wait_for(lambda: "the audit chain takes nothing: the key of the audit chain" in caplog.text)
    assert recorder.problem == "the audit chain takes nothing: see the log"
    (tmp_path / "kept").replace(key)
    wait_for(lambda: recorder.problem is None)
    recorder.close(10)
    assert caplog.text.count("takes nothing") == 1
