"""The guides: their configurations load, their options exist, and their table is what the tests try."""

import re
import runpy
import textwrap
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from harness.bypasses import BYPASSES
from harness.manifests import ROOT
from outward.cli.main import main
from outward.config.load import load

GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
FOREIGN = {"agent", "apiVersion", "jobs", "repos", "volumes"}  # what other programs' files begin with
BLOCKS = [
    (path, textwrap.dedent(text))
    for path in (*GUIDES, *(ROOT / "docs").rglob("tutorial*/*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "README.md")
    for text in re.findall(r"^ *```ya?ml[^\n]*\n(.*?)^ *```", path.read_text(), re.DOTALL | re.MULTILINE)
    if not FOREIGN & set(yaml.safe_load(text))
]
ELSEWHERE = {"/etc/outward/jwks.json", "/etc/outward-oidc/client-secret", "/run/secrets/otlp-headers"}


@pytest.mark.parametrize(("path", "text"), BLOCKS, ids=[path.stem for path, _ in BLOCKS])
def test_a_configuration_loads_as_it_is_pasted(path: Path, text: str, tmp_path: Path) -> None:
    """Each is a whole file: nobody has to guess what stands around it. The files that it names are the reader's own."""
    for name in ELSEWHERE:
        text = text.replace(name, str(tmp_path / Path(name).name))
    for name in ("names.txt", "webhook.secret", "client-secret", "otlp-headers"):
        (tmp_path / name).write_text("x-key: secret-of-enough-length\n" if name != "names.txt" else "a.example\n")
    (tmp_path / "jwks.json").write_text('{"keys": []}')
    (tmp_path / "outward.yaml").write_text(text)
    loaded = load(tmp_path / "outward.yaml", env={"SIEM_TOKEN": "secret-of-enough-length"})
    assert loaded.ok, loaded.findings


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_options_and_files_exist(path: Path) -> None:
    """Every option of `outward run` and every relative link."""
    known = CliRunner().invoke(main, ["run", "--help"]).output
    for options in re.findall(r"outward run ((?:--[a-z-]+ (?:[\w.]+ )?)*)--", path.read_text()):
        for option in re.findall(r"--[a-z-]+", options):
            assert option in known, option
    for link in re.findall(r"\]\(([^):]+)\)", path.read_text()):
        assert (path.parent / link).exists(), link


def test_the_table_of_bypasses_is_what_is_tried() -> None:
    """A row for each attempt, in their order."""
    rows = re.findall(
        r"^\| (.+?) \| fails \| fails \| (?:fails|answered by the jail itself, no packet) \|$",
        (ROOT / "docs/guides/bypasses.md").read_text(),
        re.MULTILINE,
    )
    assert rows == [bypass.title for bypass in BYPASSES]


def test_the_table_of_agents_has_a_row_for_each_that_is_run() -> None:
    """And no cell that says that something is wrong; so has that of other programs."""
    agents, others = (ROOT / "docs/guides/clients.md").read_text().split("## Other programs")
    rows = re.findall(r"^\| (.+?) \| [\d.]+ \| (.+) \|$", agents, re.MULTILINE)
    clients = runpy.run_path(str(ROOT / "scripts" / "clients" / "clients.py"))["CLIENTS"]
    tools = runpy.run_path(str(ROOT / "scripts" / "clients" / "tools.py"))["TOOLS"]
    assert re.findall(r"^\| ([A-Za-z ]+?) \|", others, re.MULTILINE)[1:] == [tool.title for tool in tools]
    assert "**" not in others
    assert [title for title, _ in rows] == [client.title for client in clients]
    assert [cells for _, cells in rows if "**" in cells] == []
