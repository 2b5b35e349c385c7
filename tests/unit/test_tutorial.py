"""The tutorial shows what its commands print."""

import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from outward.cli.main import main

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/tutorial/first-policy.md").read_text()
# Commands that need neither a server nor the internet, with what is shown behind them.
SHOWN = re.findall(r"^\$ bin/outward ((?:check|explain)[^\n]*)\n(.*?)(?=^\$|^```)", TEXT, re.MULTILINE | re.DOTALL)


def steady(text: str) -> str:
    """Return a text without what the machine and the day make of it."""
    return re.sub(r"\d+ rules, generation [0-9a-f]{12}", "N rules, generation G", text)


@pytest.mark.parametrize(
    ("command", "shown"), SHOWN, ids=[f"{number} {each}" for number, (each, _) in enumerate(SHOWN)]
)
def test_a_command_prints_what_is_shown(
    command: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "config/outward.yaml", "policy.yaml")
    if "alow" in shown:  # the mistake that the tutorial makes on purpose
        policy = Path("policy.yaml")
        policy.write_text(policy.read_text().replace("\n    allow:\n", "\n    alow:\n", 1))
    done = CliRunner().invoke(main, command.split())
    assert steady(done.output) == steady(shown)


def test_there_are_such_commands() -> None:
    assert len(SHOWN) >= 3
