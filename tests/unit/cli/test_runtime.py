"""The verbs that change run-time state, over a configuration whose proxy does not run."""

import hashlib
import json

import pytest
from click.testing import CliRunner

from harness.admin import POLICY
from outward.cli.main import main
from outward.records.audit import audit_query
from outward.records.audit.audit_query import AuditFilters
from outward.records.audit.chain import begin
from outward.records.audit.verify import verify
from outward.records.database import migrate, open_database
from outward.records.state import receipts, runtime_settings


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
    begin("sqlite", tmp_path / "state")
    found = open_database("sqlite", tmp_path / "state")
    migrate(found)
    yield found
    found.close()


def audited(database):
    return [(row["event_type"], row["entity_path"], row["target_details"])
            for row in audit_query.listed(database, AuditFilters(), 100)]  # fmt: skip


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
    assert [(each.active, each.group) for each in runtime_settings.since(database, -1).opt_ins] == [(True, "acme")]
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
    (first, second) = runtime_settings.tokens(database)
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


@pytest.fixture
def mistyped(run, tmp_path):
    """The configuration of `run`, with a typo in a group."""
    config = tmp_path / "outward.yaml"
    config.write_text(config.read_text().replace("    deny: [gist", "    dney: [gist"))
    return config


def invoke(config, *words):
    return CliRunner().invoke(main, [*words, "--config", str(config)])


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["blocked"], 0), (["audit"], 0), (["audit", "verify"], 0), (["audit", "export"], 0),
        (["ca"], 0), (["env"], 0), (["token", "list"], 0), (["token", "create", "--scope", "all"], 0),
        (["conversation", "receipt", "chat"], 1), (["conversation", "opt-out", "chat", "--group", "acme"], 0),
        (["web-search", "disable", "acme"], 0),
    ],
)  # fmt: skip
def test_a_typo_in_the_policy_leaves_the_operator_their_verbs(mistyped, database, words, status):
    """The proxy goes on with its last good policy: asking it and taking something back must go on too."""
    found = invoke(mistyped, *words)
    assert found.exit_code == status, found.output
    assert f"outward: warning: the policy does not load; `outward check {mistyped}` says why\n" in found.stderr


def test_a_token_is_revoked_while_the_policy_has_a_typo(run, database, tmp_path):
    """A leaked secret cannot wait for it."""
    ident = json.loads(run("token", "create", "--scope", "acme", "--json"))["id"]
    config = tmp_path / "outward.yaml"
    config.write_text(config.read_text().replace("deny:", "dney:"))
    run("token", "revoke", ident)
    assert "revoked" in run("token", "list")


def test_search_is_turned_off_by_name_while_the_policy_has_a_typo(run, mistyped, database, tmp_path):
    """It is said what could not be checked, and once the policy loads again the toggle is in force."""
    found = json.loads(invoke(mistyped, "web-search", "disable", "acme/platform", "--json").stdout)
    assert found == {"group": "acme/platform", "enabled": False, "changed": True, "checked": False}
    assert "if the policy in force has this group" in invoke(mistyped, "web-search", "disable", "acme/locked").stdout
    mistyped.write_text(POLICY.format(state=tmp_path / "state"))
    shown = json.loads(run("web-search", "show", "acme/platform", "--json"))
    assert (shown["enabled"], shown["origin"]) == (False, "runtime")
    latest = audit_query.listed(database, AuditFilters(), 100)[-1]
    assert (latest["details"]["from"], latest["details"]["to"]) == (None, False)


@pytest.mark.parametrize(
    "words",
    [
        ["web-search", "enable", "acme"], ["web-search", "show"], ["token", "create", "--scope", "acme"],
        ["conversation", "opt-in", "chat", "--group", "acme"], ["explain", "a.example"],
    ],
)  # fmt: skip
def test_what_the_policy_must_judge_waits_for_it(mistyped, words):
    """Nothing is turned on for a group that nobody could look up."""
    found = invoke(mistyped, *words)
    assert (found.exit_code, found.stdout) == (3, "")
    assert "did you mean `deny`?" in found.stderr
    found = invoke(mistyped, *words, "--json")
    assert (found.exit_code, found.stderr) == (3, "")
    assert [each["ident"] for each in json.loads(found.stdout)["findings"]] == ["E005"]


@pytest.mark.parametrize("words", [["blocked"], ["token", "list"], ["web-search", "disable", "acme"]])
def test_a_mistake_in_the_settings_ends_verbs_that_need_the_records(run, tmp_path, words):
    """Without them nobody knows which proxy and which records are meant."""
    config = tmp_path / "outward.yaml"
    config.write_text(config.read_text().replace("server: {state:", "server: {stat:"))
    assert "did you mean `state`?" in run(*words, status=3)
    assert json.loads(run(*words, "--json", status=3))["findings"][0]["ident"] == "E005"
