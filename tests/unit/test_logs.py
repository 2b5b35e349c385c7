"""The application log."""

import json
import logging

import pytest

from outward.ops.logs import FORMATS, JsonFormatter, TextFormatter, about, level, set_up


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("outward.x", logging.WARNING, __file__, 1, message, (), None)


def test_a_line_break_cannot_forge_an_entry() -> None:
    """What clients send may end up in a message."""
    assert TextFormatter().format(record("a\nb\x1b[0m")) == "outward: warning: a\\x0ab\\x1b[0m"
    assert TextFormatter().format(record("\x7f\x9b2Jé")) == "outward: warning: \\x7f\\x9b2Jé"
    assert "\n" not in JsonFormatter().format(record("a\nb"))


def test_json_entries_have_their_fields() -> None:
    """For log shippers."""
    entry = json.loads(JsonFormatter().format(record("hello")))
    assert (entry["level"], entry["logger"], entry["message"]) == ("warning", "outward.x", "hello")
    assert entry["time"].endswith("+00:00")


@pytest.mark.parametrize("form", FORMATS)
def test_the_log_goes_to_standard_error(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output is for events."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        set_up(form)
        logging.getLogger("outward.x").info("hello")
        logging.getLogger("asyncio").info("noise")
    finally:
        root.handlers[:], root.level = before
    told = capsys.readouterr()
    assert told.out == ""
    assert "hello" in told.err
    assert "noise" not in told.err


def test_the_level_changes_while_the_proxy_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """And libraries never say more than warnings."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        set_up("text")
        level("error")
        logging.getLogger("outward.x").warning("unheard")
        level("debug")
        logging.getLogger("outward.x").debug("heard")
        logging.getLogger("asyncio").info("noise")
    finally:
        root.handlers[:] = before[0]
        level(before[1])
    assert capsys.readouterr().err == "outward: debug: heard\n"


def test_an_entry_names_the_decision_that_it_is_about() -> None:
    """So that it is found from what a client was told, and the other way round."""
    entry = record("the dial failed")
    entry.__dict__ |= about("0123")
    assert json.loads(JsonFormatter().format(entry))["decision"] == "0123"
    assert TextFormatter().format(entry) == "outward: warning: the dial failed (decision 0123)"
    assert TextFormatter().format(record("hello")) == "outward: warning: hello"
