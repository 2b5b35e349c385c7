"""Findings as people and programs read them: exact output."""

import json

from outward.config.diagnostics import Finding, Level
from outward.config.load import load_text
from outward.config.render import render_json, render_sarif, render_text, summary
from outward.core.model import Place

BAD = """\
version: 1
groups:
  dev:
    allow:
      - "*.com"
      - {host: a.example, port: 0}
records: {url: "mysql://user:hunter2@db/x"}
clients: [{group: dve, anyone: true}]
"""


def test_each_finding_has_its_line_a_caret_and_a_cure():
    loaded = load_text(BAD, env={}, machine={})
    assert render_text(loaded.findings, loaded.sources) == """\
outward.yaml:5:9: error[E012]: wildcard `*.com` covers a public suffix
    5 |       - "*.com"
      |         ^^^^^^^
   help: name the registrable domain, such as `*.example.com`, or, if everyone's names below are meant, write `{host: "*.com", public_suffix: true}`
outward.yaml:6:33: error[E013]: not a port
    6 |       - {host: a.example, port: 0}
      |                                 ^
   help: a port is a number from 1 to 65535
outward.yaml:7:16: error[E007]: `url`: expected `sqlite`, `sqlite:///path` or `postgresql://user@host/database`
outward.yaml:8:19: error[E019]: no group is named `dve`
    8 | clients: [{group: dve, anyone: true}]
      |                   ^^^
   help: did you mean `dev`?"""  # fmt: skip


def test_smells_mark_the_whole_word():
    text = "version: 1\ngroups: {dev: {allow: ['*']}}\nclients: [{group: dev, anyone: true}]\n"
    loaded = load_text(text, env={}, machine={})
    assert render_text(loaded.findings, loaded.sources) == """\
outward.yaml:2:24: warning[W106]: `*` allows every public host
    2 | groups: {dev: {allow: ['*']}}
      |                        ^^^
   help: list the hosts that are needed"""  # fmt: skip


def test_a_variable_of_the_environment_is_its_own_place():
    loaded = load_text("version: 1", env={"OUTWARD_LISTEN": "nowhere"}, machine={})
    assert render_text(loaded.findings, loaded.sources) == """\
$OUTWARD_LISTEN: error[E007]: `listen`: expected an address and a port, such as `127.0.0.1:8080`
    1 | nowhere
      | ^^^^^^^"""  # fmt: skip


def test_control_characters_do_not_reach_the_terminal():
    finding = Finding(Level.ERROR, "E010", "not a host name", Place("a.yaml", 1, 3), 2)
    assert render_text([finding], {"a.yaml": "- \x1b[31m\tx"}) == """\
a.yaml:1:3: error[E010]: not a host name
    1 | - �[31m x
      |   ^^"""  # fmt: skip


def test_colour_is_only_added():
    loaded = load_text(BAD, env={}, machine={})
    colored = render_text(loaded.findings, loaded.sources, color=True)
    assert "\x1b[31merror[E012]\x1b[0m" in colored
    plain = colored
    for code in ("\x1b[31m", "\x1b[34m", "\x1b[1m", "\x1b[0m"):
        plain = plain.replace(code, "")
    assert plain == render_text(loaded.findings, loaded.sources)


def test_json_has_the_same_facts():
    finding = Finding(Level.WARNING, "W106", "`*` allows every public host", Place("a.yaml", 2, 3), 1, "list them")
    assert json.loads(render_json([finding])) == {
        "findings": [
            {
                "level": "warning",
                "ident": "W106",
                "message": "`*` allows every public host",
                "file": "a.yaml",
                "line": 2,
                "column": 3,
                "help": "list them",
            }
        ]
    }


def test_sarif_points_at_the_word():
    loaded = load_text(BAD, env={}, machine={})
    (run,) = json.loads(render_sarif(loaded.findings, "1.0"))["runs"]
    assert [result["ruleId"] for result in run["results"]] == ["E012", "E013", "E007", "E019"]
    assert run["results"][3]["locations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "outward.yaml"},
                "region": {"startLine": 8, "startColumn": 19, "endColumn": 22},
            }
        }
    ]


def test_the_summary_counts_in_words():
    error, warning = Finding(Level.ERROR, "E001", ""), Finding(Level.WARNING, "W101", "")
    assert summary([]) == "no errors, no warnings"
    assert summary([error, warning, warning]) == "1 error, 2 warnings"
