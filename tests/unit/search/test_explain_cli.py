"""`outward explain --search`: what each vendor would be sent, before anything is sent."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.documents import ROOT
from outward.cli.explain import explain

POLICY = """
version: 1
groups:
  acme:
    allow: [docs.example.com, example.org, "*.example.org"]
    web_search: {enabled: true, filter: strict}
clients: [{group: acme, anyone: true}]
"""


def test_it_prints_what_is_sent_and_the_line_that_would_help(tmp_path: Path) -> None:
    """For people, and as JSON."""
    config = tmp_path / "outward.yaml"
    config.write_text(POLICY)
    asked = ["--config", str(config), "--group", "acme", "--search"]
    text = CliRunner().invoke(explain, asked)
    assert text.exit_code == 0, text.output
    assert "anthropic web_search, anthropic web_fetch" in text.output
    assert "  is sent 1 domain:\n    example.org\n" in text.output
    assert "(names below are not allowed, and the vendor would search them):\n    docs.example.com [add " in text.output
    tools = json.loads(CliRunner().invoke(explain, [*asked, "--json"]).output)["tools"]
    openai = next(tool for tool in tools if (tool["vendor"], tool["tool"]) == ("openai", "web_search"))
    assert openai["allowed_domains"] == ["example.org"]


LONG = (
    "version: 1\ngroups: {acme: {web_search: {enabled: true}, deny: [x.h01.example.com], allow: ["
    + ", ".join(f"h{number:02}.example.com" for number in range(300))
    + "]}}\nclients: [{group: acme, anyone: true}]\n"
)


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_long_policy_fits_the_terminal_in_words_and_the_json_is_complete(tmp_path: Path, columns: int) -> None:
    """No line is wider than the terminal, no code is left, and no group need be named where there is one."""
    config = tmp_path / "outward.yaml"
    config.write_text(LONG)
    asked = ["--config", str(config), "--search"]
    text = CliRunner().invoke(explain, asked, env={"COLUMNS": str(columns)}).output
    assert max(map(len, text.splitlines())) <= columns
    assert len(text) < 6000
    assert "more (--json lists all)" in text
    assert "a deny rule lies within" in text
    assert not re.search(r"[a-z]+_deny|not_registrable|not_allowed", text)
    tools = json.loads(CliRunner().invoke(explain, [*asked, "--json"]).output)["tools"]
    tavily = next(tool for tool in tools if tool["vendor"] == "tavily")
    assert (len(tavily["allowed_domains"]), tavily["truncated"]) == (299, 0)


def test_advice_ends_once_it_is_taken_and_is_not_given_for_a_vendors_own_host(tmp_path: Path) -> None:
    """A host that is connected to is not searched; a wider entry stands for what lies below it."""
    config = tmp_path / "outward.yaml"

    def unsaid(*allowed: str) -> list[str]:
        allow = ", ".join(("api.anthropic.com", *allowed))
        config.write_text(
            f"version: 1\ngroups: {{acme: {{web_search: {{enabled: true}}, allow: [{allow}]}}}}\n"
            "clients: [{group: acme, anyone: true}]\n"
        )
        told = CliRunner().invoke(explain, ["--config", str(config), "--search", "--json"]).output
        return [f"{each['entry']} {each['line']}" for tool in json.loads(told)["tools"] for each in tool["unsaid"]]

    assert unsaid("docs.example.com") == ["docs.example.com - example.com"]
    assert unsaid("docs.example.com", "example.com") == []


def test_the_guide_shows_what_its_own_policy_gives(tmp_path: Path) -> None:
    """The block of output in the guide is that of the block of configuration before it."""
    guide = (ROOT / "docs/guides/hosted-search.md").read_text()
    policy, shown = re.findall(r"```yaml\n(.*?)```.*?```text\n(.*?)```", guide, re.DOTALL)[0]
    config = tmp_path / "outward.yaml"
    config.write_text(policy)
    asked = ["--config", str(config), "--group", "acme/chat", "--search"]
    assert CliRunner().invoke(explain, asked, env={"COLUMNS": "120"}).output == shown


def test_without_a_group_it_says_which_there_are(tmp_path: Path) -> None:
    """Where neither a client for anyone nor a single group decides."""
    config = tmp_path / "outward.yaml"
    config.write_text("version: 1\ngroups: {acme: {}, beta: {}}\nclients: [{group: acme, source: 10.0.0.0/8}]\n")
    for arguments in (["--search"], ["example.org"], ["--group", "nope", "example.org"]):
        done = CliRunner().invoke(explain, ["--config", str(config), *arguments])
        assert done.exit_code == 2
        assert "acme, beta" in done.output


def test_it_needs_a_url_or_search_and_not_both(tmp_path: Path) -> None:
    """A usage error otherwise."""
    assert CliRunner().invoke(explain, ["--group", "acme"]).exit_code == 2
    assert CliRunner().invoke(explain, ["--group", "acme", "--search", "example.org"]).exit_code == 2
