"""What the documents tell people to type is understood; and done, if it takes no more than a policy and its records."""

import json
import re
import shlex
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from click.testing import CliRunner

from harness.documents import DOCUMENTS, FENCES, ROOT, Block, blocks
from outward.cli.main import main
from outward.core.reasons import Reason
from outward.records.audit.chain import begin
from outward.records.database import Database, migrate, open_database
from outward.records.events.store import write
from outward.records.events.values import Event, as_record
from outward.records.state import receipts
from outward.records.state.requests import AccessRequest, put

INFO = re.compile(r'sh( title="[a-zA-Z ]+")?|console|text|yaml|json|toml|python|nft|dockerfile')
# Verbs that need a proxy, a browser or an agent; tests over sockets run them.
ELSEWHERE = {"run", "learn", "serve", "demo", "request", "connect", "health", "env", "trust"}


class Command(NamedTuple):
    """One command of ours in a block."""

    where: str
    words: tuple[str, ...]
    here: bool


def commands() -> Iterator[Command]:
    for block in blocks():
        if block.info.startswith(("sh", "console")):
            for words in ours(typed(block)):
                yield Command(block.where, tuple(words), block.info == "sh" and words[0] not in ELSEWHERE)


def mentions() -> Iterator[Command]:
    """Yield what stands in sentences: `outward check FILE`."""
    for path in DOCUMENTS:
        text = FENCES.sub("", path.read_text())
        for found in sorted(set(re.findall(r"`((?:bin/)?outward [a-z-]+[^`]*)`", text))):
            for words in ours(found):
                yield Command(str(path.relative_to(ROOT)), tuple(words), here=False)


def typed(block: Block) -> str:
    """Return what people type of a block; in a `console`, that is what stands behind a `$`."""
    if block.info == "console":
        return "\n".join(re.findall(r"^\$ (.*)", block.text, re.MULTILINE))
    return block.text


def ours(text: str) -> Iterator[list[str]]:
    """Yield the words behind each `outward` in a piece of shell, those within quotes and `$( )` too."""
    lexer = shlex.shlex(text.replace("\\\n", " ").replace("\n", "\n;\n"), posix=True, punctuation_chars="();<>|&")
    lexer.wordchars += "[]{}:@,%*+$"
    words: list[str] | None = None
    first = True  # of a command: a program, or a variable before it
    for token in lexer:
        if set(token) <= set("();<>|&"):
            if words:
                yield words
            words, first = None, True
        elif first and token.removeprefix("bin/") == "outward":
            words, first = [], False
        elif words is not None:
            words.append(token)
        else:
            first = first and "=" in token
            if "outward " in token:
                yield from ours(token.removeprefix("$(").removesuffix(")"))
    if words:
        yield words


BLOCKS, COMMANDS, MENTIONS = list(blocks()), list(commands()), list(mentions())


def test_each_block_says_what_it_is() -> None:
    """`sh` is run here; with a title it says where else; a plain block would leave that to guesses."""
    assert [each.where for each in BLOCKS if not INFO.fullmatch(each.info)] == []


def test_what_is_run_here_is_all_of_a_block() -> None:
    """In the guides: another program, or a verb that needs a proxy, makes it a block with a title."""
    lines = [
        (each.where, line)
        for each in BLOCKS
        if each.info == "sh" and each.where.startswith("docs/")
        for line in each.text.splitlines()
    ]
    assert [line for line in lines if not line[1].startswith("outward ") or line[1].split()[1] in ELSEWHERE] == []


def test_there_are_commands() -> None:
    assert sum(each.here for each in COMMANDS) > 20
    assert len(MENTIONS) > 50
    assert {"run", "blocked", "audit", "explain"} <= {each.words[0] for each in COMMANDS}


def understand(words: Iterable[str]) -> None:
    """Find a command's verb, and have it read its options and arguments."""
    found, left, context = main, list(words), click.Context(main)
    while isinstance(found, click.Group) and left and (part := found.get_command(context, left[0])) is not None:
        found, context = part, click.Context(part, info_name=left.pop(0), parent=context)
    if isinstance(found, click.Group) and left and not left[0].startswith("-"):
        context.fail(f"No such command '{left[0]}'")
    found.make_context(found.name, left)


def test_what_blocks_and_sentences_name_is_understood(folder: Path) -> None:
    """A sentence may leave out an argument, or only name it; each option and each verb exists."""
    wrong = []
    for each in (*COMMANDS, *MENTIONS):
        try:
            understand(each.words)
        except click.UsageError as error:
            unknown = isinstance(error, click.NoSuchOption) or "No such command" in error.message
            if unknown or each in COMMANDS:
                wrong.append((each.where, error.message))
        except click.exceptions.Exit:
            pass  # `--help`
    assert wrong == []


def test_wrong_ones_are_found() -> None:
    for words in (["cheque"], ["audit", "verifi"], ["blocked", "--hst", "a.example"]):
        with pytest.raises(click.UsageError):
            understand(words)
    assert list(
        ours('a | outward x -f "b c" # d\nA=1 outward y > f; sh -c "outward z 1 & e"; kubectl -n outward k')
    ) == [
        ["x", "-f", "b c"],
        ["y"],
        ["z", "1"],
    ]


@pytest.mark.parametrize("document", sorted({each.where.partition(":")[0] for each in COMMANDS if each.here}))
def test_commands_do_what_they_say(document: str, folder: Path) -> None:
    """In their order, on the records of a proxy that ran."""
    for command in COMMANDS:
        if command.here and command.where.startswith(document):
            words = [meant(word, command.words[0]) for word in command.words]
            anchor(folder)
            done = CliRunner().invoke(main, words, env={"OUTWARD_CONFIG": None if "--as" in words else "outward.yaml"})
            assert done.exit_code in (0, 4 if words[0] == "explain" else 0), (command, done.output)


def meant(word: str, verb: str) -> str:
    """Return what stands for a name that a reader fills in."""
    asked = {"ID": [verb, "list", "--json"], "GRANT": [verb, "grants", "--json"]}.get(word)
    if asked is None:
        return word
    rows = json.loads(CliRunner().invoke(main, [*asked, "--config", "outward.yaml"]).stdout)
    return next(row["id"] for row in rows if row.get("state") in ("open", "valid", None))


def anchor(folder: Path) -> None:
    """Write down where the chain ends, as an anchor does."""
    database = open_database("sqlite", folder / "state")
    rows = database.execute("SELECT chain, seq, hash, signature FROM chain_heads")
    heads = [json.dumps(dict(zip(("chain", "seq", "hash", "signature"), row, strict=True))) for row in rows]
    (folder / "heads.jsonl").write_text("\n".join(heads))
    database.close()


POLICY = """\
version: 1
server: {state: state}
include: [{files: "teams/payments/*.yaml", under: acme/payments, may: [grants]}]
groups:
  acme: {grants: allowed, allow: [docs.example.com]}
  acme/platform: {}
  acme/chat: {allow: [python.org], web_search: {enabled: true}}
clients: [{group: acme, anyone: true}]
"""
TEAM = "groups:\n  acme/payments:\n    allow: [bank.example.com]\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all that the commands name: policies, and records of a proxy that ran."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    (tmp_path / "outward.yaml").write_text(POLICY)
    (tmp_path / "heads.jsonl").write_text("")
    (tmp_path / "teams/payments").mkdir(parents=True)
    (tmp_path / "teams/payments/egress.yaml").write_text(TEAM)
    (tmp_path / "state").mkdir()
    begin("sqlite", tmp_path / "state")
    database = open_database("sqlite", tmp_path / "state")
    migrate(database)
    fill(database, time.time())
    database.close()
    return tmp_path


def fill(database: Database, now: float) -> None:
    """Write what was blocked, asked for and searched."""
    event = Event(host="b.example", port=443, group="acme", reason=Reason.NO_RULE, time=now, client_name="ci")
    receipt = {"conversation": "chat-42", "group": "acme/chat", "searches": 1, "queries": ["one"]}
    asked = AccessRequest(
        "1", "acme", "b.example", 443, None, None, False, "no_rule", 1, int(now * 1000), int(now * 1000), "", "", ("so",)
    )  # fmt: skip
    with database.transaction():
        write(database, [as_record(event)])
        receipts.write(database, {"sources": [], "citations": [], "incomplete": False, **receipt}, now, "1")
        put(database, asked)
        put(database, replace(asked, id="2", host="c.example"))
