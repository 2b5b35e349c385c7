"""Run-time state: shared by every process with the database, audited once, and closed until it is known."""

import threading
import time

import pytest

from outward.core.model import OptIn as Choice
from outward.core.model import WebSearch
from outward.core.policy import Group, Policy
from outward.core.toggles import Toggle
from outward.records import changes
from outward.records.changes import OptIn, StoredToken
from outward.records.database import StoreAwayError, migrate, open_database
from outward.records.state import LockedError, State

POLICY = Policy(
    groups={
        "acme": Group("acme", web_search=WebSearch(enabled=True, decided_by="acme")),
        "locked": Group("locked", web_search=WebSearch(enabled=True, decided_by="locked", locked_by="locked")),
        "flow": Group("flow", web_search=WebSearch(opt_in=Choice.ASSUMED)),
    }
)
ON, OFF = Toggle(True, "ada", 5.0), Toggle(False, "ada", 5.0)


class Log:
    """An audit log that counts its rows."""

    def __init__(self):
        self.rows = 0

    def __call__(self, database):
        assert database.execute("SELECT 1") == [(1,)]
        self.rows += 1


@pytest.fixture
def connect(tmp_path):
    database = open_database("sqlite", tmp_path)
    migrate(database)
    database.close()
    return lambda: open_database("sqlite", tmp_path)


@pytest.fixture
def state(connect):
    state = State(POLICY, connect)
    state.start()
    yield state
    state.close()


def wanted(conversation="chat", group="acme", active=True):
    return OptIn(conversation, group, active, None, "backend", 5.0)


def until(condition, seconds=3.0):
    """Wait for a condition and return how long it took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds
        threading.Event().wait(0.01)
    return time.monotonic() - started


def test_a_change_is_in_force_at_once_and_audited_once(state):
    """Setting the same value again changes nothing and writes nothing."""
    log = Log()
    assert state.web_search("acme").enabled
    assert state.set_web_search("acme", OFF, log)
    assert not state.web_search("acme").enabled
    assert not state.set_web_search("acme", OFF, log)
    assert log.rows == 1
    assert state.set_web_search("acme", ON, log)
    assert state.web_search("acme").enabled
    assert log.rows == 2


def test_a_change_reaches_another_process_within_a_second(state, connect):
    """Both directions, and opt-ins and tokens too."""
    other = State(POLICY, connect)
    other.start()
    state.set_web_search("acme", OFF, Log())
    assert until(lambda: not other.web_search("acme").enabled) < 1
    other.set_opt_in(wanted(), Log())
    assert until(lambda: state.opted_in("acme", "chat", "token:1")) < 1
    other.set_opt_in(wanted(active=False), Log())
    assert until(lambda: not state.opted_in("acme", "chat", "token:1")) < 1
    database = connect()
    changes.add_token(database, StoredToken("t1", "0" * 64, "acme", "ci", 1.0, None, False))
    until(lambda: "0" * 64 in state.tokens)
    assert changes.revoke_token(database, "t1")
    assert not changes.revoke_token(database, "t1")
    assert until(lambda: state.tokens["0" * 64].revoked) < 1
    database.close()
    other.close()


def test_a_change_survives_a_restart(state, connect):
    """A new process starts with what was set."""
    state.set_web_search("acme", OFF, Log())
    state.set_opt_in(wanted(), Log())
    again = State(POLICY, connect)
    again.refresh()
    assert not again.web_search("acme").enabled
    assert again.opted_in("acme", "chat", "anyone")
    again.close()


def test_a_lock_refuses(state):
    """Nothing is written, nothing is audited."""
    log = Log()
    with pytest.raises(LockedError) as error:
        state.set_web_search("locked", OFF, log)
    assert error.value.by == "locked"
    assert log.rows == 0
    assert state.web_search("locked").enabled


def test_an_audit_log_that_fails_undoes_the_change(state):
    """What cannot be audited does not happen."""

    def fail(_database):
        raise StoreAwayError("no room")

    with pytest.raises(StoreAwayError):
        state.set_web_search("acme", OFF, fail)
    state.refresh()
    assert state.web_search("acme").enabled
    with pytest.raises(StoreAwayError):
        state.set_opt_in(wanted(), fail)
    assert not state.opted_in("acme", "chat", "anyone")


def test_an_opt_in_counts_for_its_group_only(state):
    """Another group's client that uses the same name has not opted in."""
    state.set_opt_in(wanted(), Log())
    assert not state.opted_in("locked", "chat", "token:1")
    assert not state.opted_in("acme", "other", "token:1")
    assert not state.opted_in("acme", None, "token:1")
    assert not state.opted_in("acme", "", "token:1")
    assert state.opted_in("acme", "chat", "token:1")


def test_an_opt_in_is_bound_to_the_credential_that_used_it_first(state, connect):
    """Nobody else of the group can borrow the conversation, on any proxy, until it is withdrawn and given anew."""
    state.set_opt_in(wanted(), Log())
    assert state.opted_in("acme", "chat", "token:1")
    assert not state.opted_in("acme", "chat", "token:2")
    database = connect()
    until(lambda: database.execute("SELECT credential FROM opt_ins") == [("token:1",)])
    other = State(POLICY, connect)
    other.refresh()
    assert not other.opted_in("acme", "chat", "token:2")
    assert other.opted_in("acme", "chat", "token:1")
    log = Log()
    assert not state.set_opt_in(wanted(), log)
    assert not state.opted_in("acme", "chat", "token:2")
    state.set_opt_in(wanted(active=False), log)
    assert not state.opted_in("acme", "chat", "token:1")
    state.set_opt_in(wanted(), log)
    assert state.opted_in("acme", "chat", "token:2")
    assert log.rows == 2
    other.close()
    database.close()


def test_a_flow_without_a_person_is_opted_in(state):
    """`opt_in: assumed` needs no conversation."""
    assert state.opted_in("flow", None, "anyone")


def test_until_the_database_was_read_search_is_off_unless_locked_on():
    """Somebody may have switched it off: what is not known is closed."""

    def away():
        raise StoreAwayError("away")

    state = State(POLICY, away)
    state.start()
    assert not state.web_search("acme").enabled
    assert state.web_search("locked").enabled
    assert not state.opted_in("acme", "chat", "anyone")
    with pytest.raises(StoreAwayError):
        state.set_web_search("acme", ON, Log())
    state.close()


def test_an_unknown_group_cannot_be_changed(state):
    """Neither its toggle nor an opt-in for it."""
    with pytest.raises(KeyError):
        state.set_web_search("nobody", ON, Log())
    with pytest.raises(KeyError):
        state.set_opt_in(wanted(group="nobody"), Log())
