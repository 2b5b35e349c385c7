"""Run-time state: shared by every process with the database, audited once, and closed until it is known."""

import time
from dataclasses import replace

import pytest

from harness.records import unaudited
from harness.waiting import wait_for
from outward.core.model import WebSearch
from outward.core.policy import Group, Policy
from outward.core.toggles import Toggle
from outward.records.audit.chain import Chain
from outward.records.audit.verify import verify
from outward.records.database import StoreAwayError, migrate, open_database
from outward.records.state import runtime_settings
from outward.records.state.live import LockedError, State
from outward.records.state.runtime_settings import OptInChange, StoredToken

POLICY = Policy(
    groups={
        "acme": Group("acme", web_search=WebSearch(enabled=True, decided_by="acme")),
        "locked": Group("locked", web_search=WebSearch(enabled=True, decided_by="locked", locked_by="locked")),
    }
)
ON, OFF = Toggle(True, "ada", 5.0), Toggle(False, "ada", 5.0)


def signed_in(name: str, expires: float) -> StoredToken:
    return StoredToken(name, name, "all", name, 1.0, expires, revoked=False, held=("admin",))


def audited(connect) -> list[tuple[str, str, str]]:
    """Return what the audit log says: event, group and what was changed."""
    database = connect()
    rows = database.execute("SELECT event_type, group_path, target FROM audit_events ORDER BY seq")
    database.close()
    return rows


@pytest.fixture
def connect(tmp_path):
    database = open_database("sqlite", tmp_path)
    migrate(database)
    database.close()
    return lambda: open_database("sqlite", tmp_path)


@pytest.fixture
def new_state(connect, tmp_path):
    """Make states as several processes would, with one database and one chain."""
    made = []

    def make():
        made.append(State(POLICY, connect, lambda: Chain(tmp_path)))
        return made[-1]

    yield make
    for state in made:
        state.close()


@pytest.fixture
def state(new_state):
    state = new_state()
    state.start()
    return state


def wanted(conversation="chat", group="acme", active=True):
    return OptInChange(conversation, group, active, None, "backend", 5.0)


def test_a_change_is_in_force_at_once_and_audited_once(state, connect, tmp_path):
    """Setting the same value again changes nothing and writes nothing; the chain stays whole."""
    assert state.web_search("acme").enabled
    assert state.set_web_search("acme", OFF)
    assert not state.web_search("acme").enabled
    assert not state.set_web_search("acme", OFF)
    assert audited(connect) == [("web_search_setting_changed", "acme", "acme")]
    assert state.set_web_search("acme", ON)
    assert state.web_search("acme").enabled
    assert state.set_opt_in(wanted())
    assert audited(connect)[1:] == [
        ("web_search_setting_changed", "acme", "acme"),
        ("conversation_opt_in_changed", "acme", "chat"),
    ]
    database = connect()
    assert verify(database, tmp_path).problems == []
    database.close()


def test_a_change_reaches_another_process_within_a_second(state, connect, new_state):
    """Both directions, and opt-ins and tokens too."""
    other = new_state()
    other.start()
    state.set_web_search("acme", OFF)
    wait_for(lambda: not other.web_search("acme").enabled, 1)
    other.set_opt_in(wanted())
    wait_for(lambda: state.opted_in("acme", "chat", "token:1"), 1)
    other.set_opt_in(wanted(active=False))
    wait_for(lambda: not state.opted_in("acme", "chat", "token:1"), 1)
    database = connect()
    runtime_settings.add_token(database, StoredToken("t1", "0" * 64, "acme", "ci", 1.0, None, False), unaudited)
    wait_for(lambda: "0" * 64 in state.tokens)
    assert runtime_settings.revoke_token(database, "t1", unaudited)
    assert not runtime_settings.revoke_token(database, "t1", unaudited)
    wait_for(lambda: state.tokens["0" * 64].revoked, 1)
    database.close()


def test_a_change_survives_a_restart(state, new_state):
    """A new process starts with what was set."""
    state.set_web_search("acme", OFF)
    state.set_opt_in(wanted())
    again = new_state()
    again.refresh()
    assert not again.web_search("acme").enabled
    assert again.opted_in("acme", "chat", "anyone")


def test_tokens_are_audited_when_they_are_made_and_revoked(state, connect):
    """Who, when, for what, and until when; the secret's digest is nobody's business. A second revocation is none."""
    state.add_token(StoredToken("t1", "0" * 64, "acme", "ci", 1.0, 86400.0, False), "ada (command line)")
    state.add_token(StoredToken("t2", "1" * 64, "all", "", 1.0, None, False), "ada (command line)")
    assert state.revoke_token("t1", "eve (command line)")
    assert not state.revoke_token("t1", "eve (command line)")
    assert not state.revoke_token("nothing", "eve (command line)")
    assert audited(connect) == [
        ("admin_token_created", "acme", "t1"),
        ("admin_token_created", None, "t2"),
        ("admin_token_revoked", "acme", "t1"),
    ]
    database = connect()
    first, _, last = (row[0] for row in database.execute("SELECT body FROM audit_events ORDER BY seq"))
    database.close()
    assert "0" * 64 not in first
    assert '"scope":"acme"' in first
    assert '"expires":"1970-01-02T00:00:00.000Z"' in first
    assert '"author_name":"eve (command line)"' in last


def test_a_lock_refuses(state, connect):
    """Nothing is written, nothing is audited."""
    with pytest.raises(LockedError) as error:
        state.set_web_search("locked", OFF)
    assert error.value.by == "locked"
    assert audited(connect) == []
    assert state.web_search("locked").enabled


def test_an_audit_log_that_fails_undoes_the_change(connect):
    """What cannot be audited does not happen."""

    class Full:
        def append(self, _database, _records):
            raise StoreAwayError("no room")

    state = State(POLICY, connect, Full)
    state.start()
    with pytest.raises(StoreAwayError):
        state.set_web_search("acme", OFF)
    with pytest.raises(StoreAwayError):
        state.set_opt_in(wanted())
    state.refresh()
    assert state.web_search("acme").enabled
    assert not state.opted_in("acme", "chat", "anyone")
    state.close()


def test_an_opt_in_counts_for_its_group_only(state):
    """Another group's client that uses the same name has not opted in."""
    state.set_opt_in(wanted())
    assert not state.opted_in("locked", "chat", "token:1")
    assert not state.opted_in("acme", "other", "token:1")
    assert not state.opted_in("acme", None, "token:1")
    assert not state.opted_in("acme", "", "token:1")
    assert state.opted_in("acme", "chat", "token:1")


def test_an_opt_in_is_bound_to_the_credential_that_used_it_first(state, connect, new_state):
    """Nobody else of the group can borrow the conversation, on any proxy, until it is withdrawn and given anew."""
    state.set_opt_in(wanted())
    assert state.opted_in("acme", "chat", "token:1")
    assert not state.opted_in("acme", "chat", "token:2")
    database = connect()
    wait_for(lambda: database.execute("SELECT credential FROM opt_ins") == [("token:1",)])
    other = new_state()
    other.refresh()
    assert not other.opted_in("acme", "chat", "token:2")
    assert other.opted_in("acme", "chat", "token:1")
    assert not state.set_opt_in(wanted())
    assert not state.opted_in("acme", "chat", "token:2")
    state.set_opt_in(wanted(active=False))
    assert not state.opted_in("acme", "chat", "token:1")
    state.set_opt_in(wanted())
    assert state.opted_in("acme", "chat", "token:2")
    given, bound = "conversation_opt_in_changed", "conversation_opt_in_bound"
    wait_for(lambda: [row[0] for row in audited(connect)] == [given, bound, given, given, bound])
    database.close()


def test_an_opt_in_that_names_a_credential_takes_it_from_whoever_was_first(state, connect, new_state):
    """Whoever knows a conversation's name can use it first; the one who gives the opt-in has the last word."""
    state.set_opt_in(wanted())
    assert state.opted_in("acme", "chat", "token:thief")
    assert state.set_opt_in(replace(wanted(), credential="token:1"))
    assert not state.opted_in("acme", "chat", "token:thief")
    assert state.opted_in("acme", "chat", "token:1")
    assert not state.set_opt_in(replace(wanted(), credential="token:1"))
    assert not state.set_opt_in(wanted())  # names nobody: the binding stays
    other = new_state()
    other.refresh()
    assert not other.opted_in("acme", "chat", "token:thief")
    assert other.opted_in("acme", "chat", "token:1")
    database = connect()
    assert any('"token:1"' in body for (body,) in database.execute("SELECT body FROM audit_events"))
    database.close()


def test_two_proxies_that_bind_an_opt_in_at_once_agree_on_the_first_one_written(state, new_state):
    """Until each has read what the other wrote, a quarter of a second at most, both believe their own client."""
    state.set_opt_in(wanted())
    state.close()
    one, two = new_state(), new_state()
    one.refresh()
    two.refresh()
    assert one.opted_in("acme", "chat", "token:a")
    assert two.opted_in("acme", "chat", "token:b")
    for each in (two, one, two):  # what their threads do in turn
        each._bind()
    for each in (one, two, new_state()):
        each.refresh()
        assert each.opted_in("acme", "chat", "token:b")
        assert not each.opted_in("acme", "chat", "token:a")


def test_until_the_database_was_read_search_is_off_unless_locked_on(tmp_path):
    """Somebody may have switched it off: what is not known is closed."""

    def away():
        raise StoreAwayError("away")

    state = State(POLICY, away, lambda: Chain(tmp_path))
    state.start()
    assert not state.web_search("acme").enabled
    assert state.web_search("locked").enabled
    assert not state.opted_in("acme", "chat", "anyone")
    with pytest.raises(StoreAwayError):
        state.set_web_search("acme", ON)
    state.close()


def test_an_unknown_group_cannot_be_changed(state):
    """Neither its toggle nor an opt-in for it."""
    with pytest.raises(KeyError):
        state.set_web_search("nobody", ON)
    with pytest.raises(KeyError):
        state.set_opt_in(wanted(group="nobody"))


def test_a_sign_in_that_ended_is_forgotten(new_state) -> None:
    """There are many in a year; one that ended a moment ago is still named on the page."""
    now = time.time()
    writer, reader = new_state(), new_state()
    for name, ago in (("old", 2 * 86_400.0), ("young", 60.0)):
        writer.sign_in(signed_in(name, now - ago), None)
    writer.add_token(replace(signed_in("token", now - 2 * 86_400.0), held=None), "ada")
    reader.used("somebody", now - 2 * 86_400.0)
    for state in (writer, reader):
        state.refresh()
        assert sorted(state.tokens) == ["token", "young"]
    assert reader._used == {}
