"""The verbs that change run-time state, over a configuration whose proxy does not run."""

import hashlib
import json

import pytest
from click.testing import CliRunner

from harness.admin import POLICY
from outward.cli.main import main
from outward.records import changes, receipts, trail
from outward.records.database import migrate, open_database
from outward.records.trail import AuditFilters
from outward.records.verify import verify


@pytest.fixture
def run(tmp_path):
    config = tmp_path / "outward.yaml"
    config.write_text(POLICY.format(state=tmp_path / "state"))

    def call(*words, status=0):
        found = CliRunner().invoke(main, [*words, "--config", str(config)])
        assert found.exit_code == status, found.output
        return found.output

    return call


@pytest.fixture
def database(tmp_path):
    (tmp_path / "state").mkdir()
    found = open_database("sqlite", tmp_path / "state")
    migrate(found)
    yield found
    found.close()


def audited(database):
    return [(row["event_type"], row["entity_path"], row["target_details"])
            for row in trail.listed(database, AuditFilters(), 100)]  # fmt: skip


def test_the_toggle_is_set_shown_and_audited_once(run, database, tmp_path):
    """Setting what is set already changes nothing; a lock refuses."""
    assert json.loads(run("web-search", "show", "acme/platform", "--json"))["enabled"] is True
    for changed in (True, False):
        found = json.loads(run("web-search", "disable", "acme/platform", "--json"))
        assert (found["enabled"], found["origin"], found["changed"]) == (False, "runtime", changed)
    assert "off" in run("web-search", "show", "acme/platform/payments")
    assert "web search is on" in run("web-search", "enable", "acme/platform")
    assert "locked by the policy of acme/locked" in run("web-search", "enable", "acme/locked", status=1)
    run("web-search", "enable", "nobody", status=2)
    assert audited(database) == [("web_search_setting_changed", "acme/platform", "acme/platform")] * 2
    assert verify(database, tmp_path / "state").ok


def test_a_conversation_opts_in_and_out(run, database):
    """One audit event for each change."""
    for _ in range(2):
        run("conversation", "opt-in", "chat", "--group", "acme")
    assert [(each.active, each.group) for each in changes.since(database, -1).opt_ins] == [(True, "acme")]
    assert json.loads(run("conversation", "opt-out", "chat", "--group", "acme", "--json"))["opted_in"] is False
    assert audited(database) == [("conversation_opt_in_changed", "acme", "chat")] * 2
    run("conversation", "opt-in", "chat", "--group", "nobody", status=2)
    run("conversation", "receipt", "chat", status=1)


def test_a_receipt_is_shown_as_markdown_or_json(run, database):
    """All requests of the conversation as one."""
    empty = {"sources": [], "citations": [], "incomplete": False}
    with database.transaction():
        for time, query in ((5.0, "one"), (6.0, "two")):
            receipt = {"conversation": "chat", "group": "acme", "searches": 1, "queries": [query], **empty}
            receipts.write(database, receipt, time, query)
    assert "Searched the web 2 times" in run("conversation", "receipt", "chat")
    assert json.loads(run("conversation", "receipt", "chat", "--json"))["queries"] == ["one", "two"]


def test_a_token_is_shown_once_and_kept_as_a_digest(run, database, tmp_path):
    """Nothing that can be read afterwards gives the secret."""
    made = json.loads(run("token", "create", "--scope", "acme/platform", "--name", "ci", "--expires", "30d", "--json"))
    plain = run("token", "create", "--scope", "all").strip()
    (first, second) = changes.tokens(database)
    assert (first.sha256, first.scope) == (hashlib.sha256(made["token"].encode()).hexdigest(), "acme/platform")
    assert second.sha256 == hashlib.sha256(plain.encode()).hexdigest()
    listed = run("token", "list", "--json")
    assert [row["state"] for row in json.loads(listed)] == ["valid", "valid"]
    assert made["token"] not in listed
    assert made["token"].encode() not in (tmp_path / "state" / "records.sqlite").read_bytes()
    run("token", "revoke", first.id)
    run("token", "revoke", first.id, status=1)
    assert "revoked" in run("token", "list")
    run("token", "create", "--scope", "nobody", status=2)
    run("token", "create", "--scope", "all", "--expires", "soon", status=2)
