"""The audit's end of life: a person's fields are erased, old rows go, and verification tells both from tampering."""

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.records import Counts, act, append
from harness.sink import Sink
from harness.waiting import wait_for
from outward.cli.main import main
from outward.files import MIB
from outward.records.audit import audit_query, erasing, events
from outward.records.audit import keeper as audit_keeper
from outward.records.audit.audit_query import AuditFilters
from outward.records.audit.chain import Chain, ChainHead
from outward.records.audit.keeper import Anchor, AuditKeeper, anchors_in
from outward.records.audit.verify import ChainReport, verify
from outward.records.clocks import Clock
from outward.records.database import Database, migrate, open_database
from outward.records.events.recorder import Recorder
from outward.records.sending.destination import Destination
from outward.records.state.runtime_settings import StoredToken

DAY = 86_400.0
YEAR = 365 * DAY


@pytest.fixture
def database(url: str, tmp_path: Path) -> Iterator[Database]:
    opened = open_database(url, tmp_path)
    migrate(opened)
    yield opened
    opened.close()


def searched(who: str, chat: str, **facts: object):
    details = {"queries": [f"what {who} asked"], "subject": who, "vendor": "openai", "count": 1}
    return act(chat, author="10.0.0.7", details=details, **facts)


def everything(database: Database) -> str:
    """Everything that a reader of the audit's tables sees."""
    return str(database.execute("SELECT * FROM audit_events") + database.execute("SELECT * FROM receipts"))


def configured(folder: Path, url: str, more: str = "") -> str:
    config = folder / "outward.yaml"
    config.write_text(
        f"version: 1\nserver: {{state: '{folder}'}}\nrecords: {{url: '{url}'{more}}}\ngroups: {{acme: {{}}}}\n"
    )
    return str(config)


def asked(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["audit", *arguments])
    return done.exit_code, done.output


def test_a_persons_fields_are_erased_and_the_chain_still_holds(database: Database, url: str, tmp_path: Path) -> None:
    chain = Chain(tmp_path)
    append(chain, database, searched("alice", "chat-a"), searched("bob", "chat-b"), searched("alice", "chat-c"))
    for chat in ("chat-a", "chat-b"):
        database.execute(
            "INSERT INTO receipts (id, time_ms, conversation, group_path, searches, body, size)"
            f" VALUES ('{chat}', 1, '{chat}', 'acme/a', 1, 'what was asked', 9)"
        )
    config = configured(tmp_path, url)
    code, said = asked("erase", "--subject", "alice", "--json", "--config", config)
    assert (code, json.loads(said)) == (0, {"events": 2, "receipts": 1})
    left = everything(database)
    assert [word for word in ("alice", "chat-a", "chat-c") if word in left] == []
    assert "what bob asked" in left
    code, said = asked("verify", "--config", config)
    assert (code, said) == (0, "ok: 4 audit events in 1 chain, personal fields of 2 erased\n")
    listed = audit_query.listed(database, AuditFilters(), 9)
    (told,) = (each for each in listed if each["event_type"] == "audit_erased")
    gone = [each for each in listed if each["details"].get("erased")]
    (kept,) = (each for each in listed if each not in (told, *gone))
    assert (told["details"]["rows"], told["details"]["by"], told["details"]["chain"]) == ("1,3", "subject", chain.name)
    assert kept["details"]["queries"] == ["what bob asked"]
    for erased in gone:
        assert (erased["author_name"], erased["target_details"], erased["details"]["queries"]) == (None, None, None)
        assert (erased["entity_path"], erased["details"]["vendor"], erased["details"]["erased"]) == (
            "acme/a",
            "openai",
            True,
        )
    database.execute("UPDATE audit_events SET private = NULL, target = NULL WHERE seq = 2")
    report = verify(database, tmp_path)
    assert report.problems == [
        f"chain {chain.name[:12]}: row 2: its personal fields are gone, and no event tells of an erasure"
    ]


def test_receipts_of_another_group_are_anothers(database: Database, url: str, tmp_path: Path) -> None:
    """Clients choose the names of conversations."""
    append(Chain(tmp_path), database, searched("alice", "main"))
    for group in ("acme/a", "acme/b"):
        database.execute(
            "INSERT INTO receipts (id, time_ms, conversation, group_path, searches, body, size)"
            f" VALUES ('{group}', 1, 'main', '{group}', 1, 'what was asked', 9)"
        )
    code, said = asked("erase", "--subject", "alice", "--json", "--config", configured(tmp_path, url))
    assert (code, json.loads(said)) == (0, {"events": 1, "receipts": 1})
    assert database.execute("SELECT group_path FROM receipts") == [("acme/b",)]


def test_only_a_chain_that_is_vouched_for_explains_what_is_gone(database: Database, url: str, tmp_path: Path) -> None:
    """Whoever has the database alone makes a chain, which tells of an erasure, and is old enough to be told anew."""
    chain, forged = Chain(tmp_path), Chain(tmp_path / "forged")
    append(chain, database, searched("alice", "chat-a"), searched("bob", "chat-b"))
    database.execute("UPDATE audit_events SET private = NULL, target = NULL WHERE seq = 2")
    (lie,) = erasing.erased({chain.name: [2]}, "subject", "root")
    append(forged, database, replace(lie, time=time.time() - YEAR - 30 * DAY))
    anchors = [ChainHead(*row) for row in database.execute("SELECT chain, seq, hash, signature FROM chain_heads")]
    said = f"chain {chain.name[:12]}: row 2: erased, as chain {forged.name[:12]} says, which nothing vouches for"
    assert verify(database, tmp_path).problems == [said]
    assert verify(database, tmp_path, anchors=anchors).problems == []  # it is another proxy's, where somebody erased
    AuditKeeper(lambda: open_database(url, tmp_path), tmp_path, Counts(), YEAR, streamed=False).handle([])
    assert database.execute("SELECT 1 FROM audit_events WHERE chain = ?", (forged.name,)) == []
    assert verify(database, tmp_path).problems == [said]
    assert verify(database, tmp_path, anchors=anchors).problems == []


@pytest.mark.parametrize("rows", ["1-999999999999", 5, None, ["1"], "1-" + "9" * 5000])
def test_no_row_ends_a_verification(database: Database, tmp_path: Path, rows: object) -> None:
    """Its own chain may sign it, or nobody: what it says is bounded either way."""
    chain = Chain(tmp_path)
    lie = erasing.erased({chain.name: [1]}, "subject", "root")[0]
    append(chain, database, act("chat-1"), replace(lie, details=lie.details | {"rows": rows}))
    assert verify(database, tmp_path).ok
    bodies = [
        {"details": {"chain": chain.name, "rows": rows}},
        {"details": {"chain": [], "rows_until": 1, "hash": ""}},
        {"details": {"chain": "ff", "rows_until": 10**30, "hash": ""}},
        "no object",
    ]
    database.execute("INSERT INTO chain_heads (chain, seq, hash, signature) VALUES ('ff', 1, '', '')")
    for seq, body in enumerate(bodies, 1):
        for kind in ("audit_erased", "audit_pruned"):
            database.execute(
                "INSERT INTO audit_events (chain, seq, hash, signature, body, id, time_ms, event_type)"
                " VALUES ('fe', ?, '', '', ?, ?, 1, ?)",
                (2 * seq + (kind == "audit_pruned"), json.dumps(body), f"{seq} {kind}", kind),
            )
    assert not verify(database, tmp_path, signatures=False).ok


@pytest.mark.parametrize(("option", "value"), [("--client", "10.0.0.7"), ("--conversation", "chat-a")])
def test_a_person_is_known_by_other_names_too(
    database: Database, url: str, tmp_path: Path, option: str, value: str
) -> None:
    append(Chain(tmp_path), database, searched("alice", "chat-a"), act("chat-b", author="10.0.0.77"))
    assert asked("erase", option, value, "--config", configured(tmp_path, url))[0] == 0
    assert "alice" not in everything(database)
    assert "chat-b" in everything(database)
    assert verify(database, tmp_path).ok


def test_who_is_no_client_is_erased_too(database: Database, url: str, tmp_path: Path) -> None:
    """Whose credential an opt-in was bound to, who was not let in, and whose client has a name."""
    said_of = ("alice", "bob", "Bob", "id.example", "10.0.0", "chat-")
    token = {"id": "s-1", "sha256": "0", "scope": "all", "created": 1.0, "expires": 2.0, "revoked": False, "held": ()}
    bob = StoredToken(**token, name="Bob", issuer="https://id.example", subject="bob")  # type: ignore[arg-type]
    append(
        Chain(tmp_path),
        database,
        events.opt_in_bound("chat-a", "acme/a", "jwt:https://id.example:alice"),
        events.signed_in(bob, "10.0.0.8"),
        act(None, author="build-7", ip_address="10.0.0.9", details={"conversation": "chat-b"}),
        act(None, author="build-7", ip_address="10.0.0.10", details={"conversation": "chat-c"}),
        events.policy_reloaded("1", "2", asked=True),
    )
    bodies = str(database.execute("SELECT body FROM audit_events"))
    assert [word for word in said_of if word in bodies] == []
    config = configured(tmp_path, url)
    for option, value in (("subject", "alice"), ("subject", "bob"), ("client", "10.0.0.9"), ("conversation", "chat-c")):
        code, said = asked("erase", f"--{option}", value, "--json", "--config", config)
        assert (option, code, json.loads(said)["events"]) == (option, 0, 1)
    left = everything(database)
    assert [word for word in said_of if word in left] == []
    assert verify(database, tmp_path).problems == []


def test_nobody_in_particular_is_not_erased(url: str, tmp_path: Path) -> None:
    config = configured(tmp_path, url)
    assert asked("erase", "--config", config)[0] == 2
    assert asked("erase", "--subject", "a", "--client", "b", "--config", config)[0] == 2


def test_what_cannot_be_guessed_stays_hidden(database: Database, tmp_path: Path) -> None:
    """Two rows of the same words have different digests: without its salt no text can be tried."""
    append(Chain(tmp_path), database, searched("alice", "chat-a"), searched("alice", "chat-a"))
    bodies = [row[0] for row in database.execute("SELECT body FROM audit_events")]
    assert [word for word in ("alice", "10.0.0.7", "chat-a", "asked") if word in str(bodies)] == []
    assert len({json.loads(body)["private_sha256"] for body in bodies}) == 2


def test_old_rows_go_with_an_event_and_the_chain_holds(database: Database, url: str, tmp_path: Path) -> None:
    """Of a chain that goes on, and of one whose proxy is gone; again and again."""
    now = time.time()
    chain, gone = Chain(tmp_path), Chain(tmp_path / "gone")
    append(chain, database, *(searched("alice", f"chat-{n}", time=now - YEAR - 9 * DAY) for n in range(7)))
    append(chain, database, *(searched("bob", f"chat-{n}", time=now - 5) for n in range(3)))
    append(gone, database, *(searched("carol", f"chat-{n}", time=now - YEAR - 9 * DAY) for n in range(4)))
    before = verify(database, tmp_path)
    keeper = AuditKeeper(lambda: open_database(url, tmp_path), tmp_path, counts := Counts(), YEAR, streamed=False)
    keeper.handle([])
    assert counts.pruned == {("age", "audit"): 11}
    report = verify(database, tmp_path)
    assert report.problems == []
    assert (report.chains[chain.name], report.starts[chain.name]) == (12, 7)
    assert verify(database, tmp_path, after=report).problems == []
    assert verify(database, tmp_path, after=before).problems == []
    assert "carol" not in everything(database)
    keeper.handle([])
    assert counts.pruned == {("age", "audit"): 11}
    database.execute("DELETE FROM audit_events WHERE seq = 8 AND chain = ?", (chain.name,))
    assert not verify(database, tmp_path).ok


def test_each_proxy_of_a_fleet_prunes_its_own_chain(database: Database, url: str, tmp_path: Path) -> None:
    """The first one to look breaks nobody's chain; what it tells of one that is gone is kept as long as it stands."""
    now, month = time.time(), 30 * DAY
    one, other = tmp_path / "one", tmp_path / "other"
    gone = Chain(tmp_path / "gone")
    longer = Chain(tmp_path / "longer")
    append(gone, database, searched("carol", "chat-c", time=now - 50 * DAY))
    append(longer, database, searched("carol", "chat-d", time=now - 80 * DAY))
    cut = erasing.prunable(database, longer.name, round(now * 1000), delivered=False)
    assert cut is not None
    append(Chain(one), database, replace(erasing.pruned(longer.name, cut), time=now - 45 * DAY))
    for state in (one, other):
        for days in (50, 40, 1):
            append(Chain(state), database, searched("alice", f"chat-{days}", time=now - days * DAY))
    anchors = [ChainHead(*row) for row in database.execute("SELECT chain, seq, hash, signature FROM chain_heads")]
    erasing.delete(database, longer.name, cut.seq)
    for state in (one, other):
        AuditKeeper(lambda: open_database(url, tmp_path), state, Counts(), month, streamed=False).handle([])
        reports = [verify(database, each, anchors=anchors) for each in (one, other)]
        assert [report.problems for report in reports] == [[], []]
    starts = reports[0].starts
    assert [starts[each.name] for each in (Chain(one), Chain(other), gone, longer)] == [3, 2, 1, 1]
    assert "carol" not in everything(database)


@pytest.mark.parametrize("days", [800, -40])
def test_nothing_is_pruned_by_a_clock_that_is_off(
    database: Database, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    append(Chain(tmp_path), database, *(searched("alice", f"chat-{n}") for n in range(4)))
    monkeypatch.setattr(audit_keeper, "Clock", lambda: Clock(lambda: time.time() + days * DAY))
    keeper = AuditKeeper(lambda: open_database(url, tmp_path), tmp_path, counts := Counts(), YEAR, streamed=False)
    keeper.handle([])
    assert counts.pruned == {}
    assert len(audit_query.listed(database, AuditFilters(), 9)) == 4


def test_what_the_stream_has_not_delivered_is_not_pruned(database: Database, url: str, tmp_path: Path) -> None:
    chain = Chain(tmp_path)
    append(chain, database, *(searched("alice", f"chat-{n}", time=time.time() - YEAR - 9 * DAY) for n in range(4)))
    append(chain, database, act("chat-9"))
    keeper = AuditKeeper(lambda: open_database(url, tmp_path), tmp_path, counts := Counts(), YEAR, streamed=True)
    keeper.handle([])
    assert counts.pruned == {}
    database.execute("INSERT INTO stream_cursors (chain, seq) VALUES (?, 2)", (chain.name,))
    keeper.handle([])
    assert counts.pruned == {("age", "audit"): 2}


def test_rows_that_are_cut_with_all_heads_set_back_show_by_the_anchor(
    database: Database, url: str, tmp_path: Path
) -> None:
    """Whoever holds database and state directory sets both back to an earlier moment."""
    chain, file = Chain(tmp_path), tmp_path / "anchors.jsonl"
    append(chain, database, *(act(f"chat-{n}") for n in range(3)))
    shutil.copy(tmp_path / "audit.head", tmp_path / "earlier.head")
    earlier = database.execute("SELECT chain, seq, hash, signature FROM chain_heads")[0]
    append(chain, database, act("chat-9"))
    anchor = Anchor(tmp_path, file)
    anchor.handle([])
    anchor.handle([])
    assert len(file.read_text().splitlines()) == 1  # nothing new was there to tell
    config = configured(tmp_path, url, f", audit: {{anchor: '{file}'}}")
    assert asked("verify", "--config", config) == (0, "ok: 4 audit events in 1 chain, held against 1 anchor\n")
    database.execute("DELETE FROM audit_events WHERE seq = 4")
    database.execute("DELETE FROM chain_heads")
    database.insert("INSERT INTO chain_heads (chain, seq, hash, signature) VALUES (?, ?, ?, ?)", [earlier])
    shutil.copy(tmp_path / "earlier.head", tmp_path / "audit.head")
    assert verify(database, tmp_path).ok
    code, said = asked("verify", "--config", config)
    assert code == 1
    assert "rows are missing at the end: 3 is the last, 4 was written" in said
    append(Chain(tmp_path / "forged"), database, act("chat-1"))
    assert "no anchor names it" not in asked("verify", "--config", config)[1]  # each proxy may have a file of its own
    assert "no anchor names it" in asked("verify", "--config", config, "--anchor", str(file))[1]


def test_an_anchor_is_told_to_an_endpoint_once_it_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_keeper, "_EVERY", 0.05)
    monkeypatch.setattr(audit_keeper, "_AGAIN", 0.05)
    sink = Sink()
    sink.answers.append((503, {}))
    anchor = Anchor(tmp_path, Destination(sink.url))
    recorder = Recorder("sqlite", tmp_path, Counts(), retention=YEAR, anchor=anchor)
    recorder.start()
    recorder.audit(act("chat-1"))
    wait_for(lambda: any(each["seq"] == 1 for each in sink.taken))
    wait_for(lambda: anchor.problem is None)
    recorder.audit(act("chat-2"))
    recorder.close(10)
    wait_for(lambda: sink.taken[-1]["seq"] == 2)
    told = tmp_path / "told.jsonl"
    lines = "".join(json.dumps(each) + "\n" for each in sink.taken)
    told.write_text(lines * (2 * MIB // len(lines)))  # as many as come in some weeks
    database = open_database("sqlite", tmp_path)
    report: ChainReport = verify(database, tmp_path, anchors=anchors_in(told))
    assert report.problems == []
    database.close()
    sink.stop()
