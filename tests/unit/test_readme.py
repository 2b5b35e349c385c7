"""The README and the locks say what the code says."""

import re
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from outward.cli.main import VERBS, main
from outward.core.reasons import MEANINGS, Reason

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"


def test_every_reason_has_a_meaning() -> None:
    """A reason without a meaning could not be answered to a client."""
    assert set(MEANINGS) == set(Reason)


def test_the_readme_is_read_in_five_minutes() -> None:
    """What does not fit belongs into a guide or the reference."""
    assert len(README.read_text().splitlines()) <= 120


def test_what_the_readme_tests_by_is_what_a_change_is_held_to() -> None:
    """And no folder of tests is left out."""
    script = (ROOT / ".ci/run").read_text()
    assert "bin/test" in README.read_text()
    assert re.search(r'^tests\(\) \{ bin/test .*"\$@"; \}$', script, re.MULTILINE)
    [others] = re.findall(r"tests \$\(find tests -mindepth 1 -maxdepth 1 -type d (.*?) \|", script)
    apart = [f"tests/{name}" for name in re.findall(r"! -name (\w+)", others) if name != "__pycache__"]
    assert apart
    for folder in apart:
        assert re.search(rf"(pytest .*|tests ){folder}\b(?!/)(?! --)", script), folder


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_can_be_loaded_and_explains_itself(verb: str) -> None:
    """The table of verbs names modules and commands that exist."""
    command = main.get_command(click.Context(main), verb)  # type: ignore[attr-defined]
    assert command is not None
    assert command.name == verb
    assert command.get_short_help_str()


def _leaves(command: click.Command) -> list[click.Command]:
    """Return a command's subcommands, down to those that do the work."""
    if not isinstance(command, click.Group):
        return [command]
    context = click.Context(command)
    return [
        leaf
        for name in command.list_commands(context)
        for leaf in _leaves(command.get_command(context, name) or command)
    ]


def test_every_verb_takes_json() -> None:
    """A verb, or a part of one, that a script cannot read."""
    deaf = [leaf.name for leaf in _leaves(main) if not any("--json" in option.opts for option in leaf.params)]
    assert deaf == []


def test_a_misspelt_verb_is_answered_with_the_nearest() -> None:
    """Typing errors end in usage (2), with the verb that was meant."""
    result = CliRunner().invoke(main, ["chek"])
    assert result.exit_code == 2
    assert "Did you mean 'check'?" in result.output


def test_links_in_the_documents_lead_somewhere() -> None:
    """A relative link to a file that does not exist."""
    documents = [README, ROOT / "SECURITY.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{document.relative_to(ROOT)}: {link}"
        for document in documents
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text())
        if not (document.parent / link).exists()
    ]
    assert broken == []


def test_the_architecture_names_files_that_exist() -> None:
    """Those who read it to find their way, find it."""
    for document in (ROOT / "docs/architecture.md", ROOT / "CONTRIBUTING.md"):
        named = set(re.findall(r"`([a-z_0-9]+(?:/[a-z_0-9]+)+\.py)`", document.read_text()))
        assert len(named) > 4
        assert [
            each for each in named if not any((base / each).exists() for base in (ROOT, ROOT / "addons/outward"))
        ] == []


def _names(entries: list[object]) -> set[str]:
    return {
        re.split(r"[^A-Za-z0-9._-]", str(entry))[0].lower().replace("_", "-").replace(".", "-") for entry in entries
    }


@pytest.mark.parametrize(
    ("lock", "groups"), [("requirements/outward.txt", ()), ("requirements/dev.txt", ("dev", "sdk"))]
)
def test_the_locks_hold_every_dependency_with_hashes(lock: str, groups: tuple[str, ...]) -> None:
    """A dependency was added: run `bin/lock`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = _names(project["project"]["dependencies"])
    for group in groups:
        wanted |= _names(project["dependency-groups"][group])
    text = (ROOT / lock).read_text()
    locked = {
        match.lower().replace("_", "-").replace(".", "-")
        for match in re.findall(r"^([A-Za-z0-9._-]+)==", text, re.MULTILINE)
    }
    assert wanted - locked == set()
    assert text.count("==") <= text.count("--hash=sha256:") + text.count("python_full_version ")


@pytest.mark.parametrize("path", sorted(ROOT.glob("requirements/*.txt")), ids=lambda path: path.name)
def test_the_locks_name_no_machine_and_no_index(path: Path) -> None:
    """A lock works wherever the machine's own index is."""
    text = path.read_text()
    assert "://" not in text
    assert not re.search(r"^(?:-|/|#)", text, re.MULTILINE)
