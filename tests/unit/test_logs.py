"""The application log."""

import json
import logging

import pytest

from outward.ops.logs import FORMATS, JsonFormatter, TextFormatter, set_up


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("outward.x", logging.WARNING, __file__, 1, message, (), None)


def test_a_line_break_cannot_forge_an_entry() -> None:
    """What clients send may end up in a message."""
    assert TextFormatter().format(record("a\nb\x1b[0m")) == "outward: warning: a\\x0ab\\x1b[0m"
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
