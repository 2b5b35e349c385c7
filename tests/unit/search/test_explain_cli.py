"""`outward explain --search`: what each vendor would be sent, before anything is sent."""

import json
from pathlib import Path

from click.testing import CliRunner

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
    assert "anthropic web_search: example.org" in text.output
    assert 'docs.example.com: subdomains_not_allowed; add - "*.docs.example.com"' in text.output
    tools = json.loads(CliRunner().invoke(explain, [*asked, "--json"]).output)["tools"]
    openai = next(tool for tool in tools if (tool["vendor"], tool["tool"]) == ("openai", "web_search"))
    assert openai["allowed_domains"] == ["example.org"]


def test_it_needs_a_url_or_search_and_not_both(tmp_path: Path) -> None:
    """A usage error otherwise."""
    assert CliRunner().invoke(explain, ["--group", "acme"]).exit_code == 2
    assert CliRunner().invoke(explain, ["--group", "acme", "--search", "example.org"]).exit_code == 2
