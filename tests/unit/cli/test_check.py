"""`outward check`, `explain` and `schema` as scripts use them: output and exit status."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from outward.cli.main import main
from outward.core.model import Verdict
from outward.core.reasons import Reason
from outward.records.database import migrate, open_database
from outward.records.events.store import write
from outward.records.events.values import Event, as_record

GOOD = "version: 1\ngroups: {dev: {allow: [a.example], deny: [b.example]}}\nclients: [{group: dev, anyone: true}]\n"
SMELLY = GOOD.replace("a.example", "'*'")
BAD = GOOD.replace("a.example", "'*.com'")


@pytest.fixture
def outward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def run(*words: str, text: str | None = None, stdin: str | None = None) -> Result:
        if text is not None:
            (tmp_path / "outward.yaml").write_text(text)
        return CliRunner().invoke(main, words, input=stdin)

    return run


@pytest.mark.parametrize(
    ("text", "strict", "status"),
    [(GOOD, False, 0), (GOOD, True, 0), (SMELLY, False, 0), (SMELLY, True, 3), (BAD, False, 3)],
)
def test_check_tells_by_its_status_whether_the_file_can_be_used(outward, text: str, strict: bool, status: int):
    assert outward("check", *["--strict"] * strict, text=text).exit_code == status


def test_check_refuses_a_vendor_that_nobody_knows_and_names_the_nearest(outward):
    """A host with a misspelt format would be governed by nobody."""
    result = outward("check", "outward.yaml", text=GOOD + "vendors: {llm.example.com: opnai}\n")
    assert result.exit_code == 3
    assert "no vendor is named `opnai`" in result.stdout
    assert "openai" in result.stdout
    assert outward("check", "outward.yaml", text=GOOD + "vendors: {llm.example.com: foundry}\n").exit_code == 0


def test_check_prints_findings_and_a_summary_without_colour(outward):
    result = outward("check", text=BAD)
    assert result.stdout.startswith("outward.yaml:2:24: error[E012]: wildcard `*.com` covers a public suffix\n")
    assert result.stdout.endswith("\n1 error\n")
    assert "\x1b" not in result.stdout


def test_check_sums_up_a_good_file(outward):
    assert outward("check", text=GOOD).stdout.startswith("no errors, no warnings; 1 group, 2 rules, generation ")


def test_check_reads_standard_input(outward):
    assert outward("check", "-", stdin=GOOD).exit_code == 0
    result = outward("check", "-", stdin=BAD)
    assert result.exit_code == 3
    assert result.stdout.startswith("<stdin>:2:24: ")


@pytest.mark.parametrize("words", [["--json"], ["--format", "json"]])
def test_check_prints_json(outward, words: list[str]):
    result = outward("check", *words, text=BAD)
    assert result.exit_code == 3
    assert [each["ident"] for each in json.loads(result.stdout)["findings"]] == ["E012"]


def test_check_prints_sarif(outward):
    assert json.loads(outward("check", "--format", "sarif", text=SMELLY).stdout)["version"] == "2.1.0"


def test_check_without_a_file_is_a_usage_error(outward):
    assert outward("check").exit_code in (2, 3)
    assert outward("check", "missing.yaml").exit_code == 3


@pytest.mark.parametrize(
    ("url", "status", "first"),
    [
        ("https://a.example/x", 0, "GET a.example:443/x: allowed, rule"),
        ("A.Example.", 0, "CONNECT a.example:443: allowed, rule"),
        ("http://a.example", 0, "CONNECT a.example:80: allowed, rule"),
        ("a.example:22", 4, "CONNECT a.example:22: denied, port_not_allowed"),
        ("https://b.example/", 4, "GET b.example:443/: denied, denied_by_rule"),
        ("https://c.example/", 4, "GET c.example:443/: denied, no_rule"),
    ],
)
def test_explain_tells_by_its_status_whether_a_url_is_allowed(outward, url: str, status: int, first: str):
    result = outward("explain", "--group", "dev", url, text=GOOD)
    assert (result.exit_code, result.stdout.splitlines()[0]) == (status, first)


def test_explain_prints_the_trace(outward):
    assert (
        outward("explain", "-g", "dev", "https://c.example:8443/", text=GOOD).stdout
        == """\
GET c.example:8443/: denied, no_rule
  No rule allows this host.
  groups  dev (mode enforce)
  rules   none is about this host
  This entry under `allow` of `dev` would allow it:
    - "c.example:8443"
"""
    )
    doubtful = outward("explain", "-g", "dev", "pastebin.com", text=GOOD).stdout
    assert "    - pastebin.com\n  Look first: anybody can send or fetch through it (`@pastes`).\n" in doubtful
    assert (
        outward("explain", "-g", "dev", "a.example").stdout
        == """\
CONNECT a.example:443: allowed, rule
  An allow rule matched.
  groups  dev (mode enforce)
  lane    tunnel
  rules   considered in this order:
    => allow a.example  allows  (dev, outward.yaml:2)
"""
    )


SETS = """\
version: 1
secrets: {key: {env: KEY, hosts: [a.example]}}
groups: {dev: {allow: [{host: a.example, methods: [GET], inject: {header: X-Key, value: "{key}"}}]}}
clients: [{group: dev, anyone: true}]
"""


def test_check_tells_of_a_secrets_file_that_everybody_can_read(outward, tmp_path: Path):
    (tmp_path / "key").write_text("the-value-0123456789")
    config = tmp_path / "outward.yaml"
    config.write_text(
        "version: 1\nsecrets: {key: {file: key, hosts: [a.example]}, gone: {file: gone, hosts: [a.example]}}\n"
        "groups: {dev: {allow: [{host: a.example, inject: {basic: 'a{gone}:{key}'}}]}}\n"
        "clients: [{group: dev, anyone: true}]\n"
    )
    for mode, warned in ((0o644, True), (0o640, False)):
        (tmp_path / "key").chmod(mode)
        done = outward("check", str(config))
        assert (f"warning[W137]: every user of this machine can read {tmp_path}/key" in done.output) is warned
        assert ("the-value" in done.output, "gone, which" in done.output) == (False, False)


@pytest.mark.parametrize(
    ("host", "first", "said"),
    [
        ("held.example", "denied, address_not_public", "held.example is not dialled (loopback: 127.0.0.1)"),
        ("opened.example", "allowed, rule", "=> allow opened.example"),
        ("opened.example:8443", "denied, port_not_allowed", "is for other ports"),
        ("far.example", "denied, denied_by_rule", "=> deny  192.0.2.0/24  denies its address 192.0.2.9"),
        ("both.example", "allowed, rule", "=> allow both.example"),
    ],
)
def test_explain_knows_the_addresses_that_the_file_gives_a_host(outward, host: str, first: str, said: str):
    """And what a rule opens or denies of them, as the dial does: one that may be dialled is enough."""
    text = """\
version: 1
upstream:
  dns:
    hosts:
      held.example: [127.0.0.1]
      opened.example: [127.0.0.1]
      far.example: [192.0.2.9]
      both.example: [192.0.2.9, 203.0.113.9]
groups:
  dev:
    deny: [192.0.2.0/24]
    allow: [held.example, {host: opened.example, addresses: [127.0.0.1/32]}, far.example, both.example]
clients: [{group: dev, source: 10.0.0.1}]
"""
    told = outward("explain", "--config", "outward.yaml", f"https://{host}", text=text).stdout
    assert first in told.splitlines()[0]
    assert said in told


def test_explain_says_what_a_rule_sets(outward, monkeypatch):
    """Which header, from which secret; the value is not even read."""
    monkeypatch.setenv("KEY", "hunter2")
    about = ("explain", "--config", "outward.yaml", "https://a.example/x")
    found = outward(*about, text=SETS).stdout
    answer = outward(*about, "--json").stdout
    assert "  sets    x-key, from key\n" in found
    assert json.loads(answer)["inject"] == [{"header": "x-key", "secrets": ["key"]}]
    assert "hunter2" not in found + answer + outward("check", "--json", "--config", "outward.yaml").stdout
    assert "  sets " not in outward(*about, "-X", "POST").stdout


def test_explain_prints_json(outward):
    answer = json.loads(outward("explain", "-g", "dev", "b.example", "--json", text=GOOD).stdout)
    assert (answer["verdict"], answer["reason"], answer["chain"]) == ("deny", "denied_by_rule", ["dev"])
    assert answer["steps"] == [
        {
            "group": "dev", "kind": "deny", "pattern": "b.example", "file": "outward.yaml", "line": 2,
            "outcome": "denies", "decided": True,
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    "words", [["-g", "nobody", "a.example"], ["-g", "dev", "ftp://a.example"], ["-g", "dev", "a b"], []]
)
def test_explain_refuses_what_makes_no_question(outward, words: list[str]):
    assert outward("explain", *words, text=GOOD).exit_code == 2


def test_explain_with_an_invalid_file_ends_like_check(outward):
    assert outward("explain", "-g", "dev", "a.example", text=BAD).exit_code == 3


def test_schema_prints_the_schema(outward):
    assert json.loads(outward("schema").output)["title"] == "Outward configuration"


SEARCHING = (
    "version: 1\ngroups: {dev: {allow: [%s], web_search: {enabled: true%s}}}\nclients: [{group: dev, anyone: true}]\n"
)


@pytest.mark.parametrize(
    ("allow", "more", "mute"),
    [
        ("api.openai.com, '*.wild.example'", "", True),
        ("docs.example", ", filter: strict", True),
        ("docs.example, {host: api.github.com, paths: ['/x']}", "", False),
        ("wild.example, '*.wild.example'", ", filter: strict", False),
        ("'*'", "", False),
        ("'*.wild.example'", ", sources: [docs.example]", False),
        ("api.openai.com", "", False),
        ("", "", False),
    ],
)
def test_check_says_where_a_search_would_find_nothing(outward, allow: str, more: str, mute: bool):
    """A list that is right for connections may hold nothing that a vendor's filter can say."""
    result = outward("check", "outward.yaml", text=SEARCHING % (allow, more))
    assert result.exit_code == 0
    assert ("W122" in result.output) is mute


@pytest.mark.parametrize(
    ("more", "code", "status"),
    [
        ("vendors: {llm.example.com: {adapter: openai, unknown: report}}\n", "W129", 0),
        ("vendors: {llm.example.com: {adapter: openai, unknown: deny}}\n", None, 0),
        ("vendor_tables: [tables]\n", "E032", 3),
    ],
)
def test_check_tells_of_what_weakens_the_vendors_tables(outward, tmp_path: Path, more: str, code: str, status: int):
    """A host where the unknown passes is a warning; a table that cannot be read is an error."""
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/openai.yaml").write_text("endpoints: {POST /v1/x: sometimes}\n")
    result = outward("check", "outward.yaml", text=GOOD + more)
    assert result.exit_code == status
    assert {each for each in ("W128", "W129", "E032") if each in result.output} == ({code} if code else set())


def test_check_warns_of_an_allowed_host_that_searches_and_that_nothing_governs(outward):
    """The cure silences it: the host is governed then."""
    text = GOOD.replace("a.example", "api.deepseek.com")
    assert "W128" in outward("check", "outward.yaml", text=text).output
    governed = outward("check", "outward.yaml", text=text + "vendors: {api.deepseek.com: openai}\n")
    assert "W128" not in governed.output


def test_check_tells_the_ways_out_below_a_wildcard_with_the_lines_that_close_them(outward):
    result = outward("check", text=GOOD.replace("a.example", "'*.github.com'"))
    assert result.exit_code == 0
    assert "warning[W140]" in result.output
    assert 'deny: ["gist.github.com", "api.github.com", "uploads.github.com"]' in result.output


def test_check_tells_the_rules_that_the_records_do_not_use(outward, tmp_path: Path):
    text = f"server: {{state: {tmp_path}/state}}\n" + GOOD.replace(
        "[a.example]", "[a.example, c.example, '*.example.com']"
    )
    assert outward("check", "outward.yaml", "--unused", "7d", text=text).exit_code == 1, "there are no records"
    (tmp_path / "state").mkdir()
    database = open_database("sqlite", tmp_path / "state")
    migrate(database)
    with database.transaction():
        write(database, [as_record(Event(host="a.example", port=443, group="dev", method="CONNECT"))])
    assert "nothing that was allowed" in outward("check", "outward.yaml", "--unused", "7d").output
    with database.transaction():
        for host in ("a.example", "n.example.com"):
            event = Event(host=host, port=443, group="dev", method="CONNECT", verdict=Verdict.ALLOW, reason=Reason.RULE)
            write(database, [as_record(event)])
    database.close()
    for words in (("--unused", "7d"), ("--records", "outward.yaml")):
        found = json.loads(outward("check", "outward.yaml", *words, "--json").stdout)["findings"]
        assert [(each["ident"], each["message"].partition(" since")[0]) for each in found] == [
            ("W142", "`c.example` was not used"),
            ("W143", "`*.example.com` met 1 name"),
        ]
    assert outward("check", "outward.yaml").stdout.startswith("no errors, no warnings")


@pytest.mark.parametrize("key", ["secrets", "admin", "webhooks"])
def test_nothing_is_shown_of_a_file_that_another_program_may_own(key: str, tmp_path: Path) -> None:
    """Their files begin so too."""
    (tmp_path / "other.yaml").write_text(f"{key}: {{password: hunter2-hunter2}}\n")
    done = CliRunner().invoke(main, ["check", str(tmp_path / "other.yaml")])
    assert (done.exit_code, "E001" in done.output, "hunter2" in done.output) == (3, True, False)
