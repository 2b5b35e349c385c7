"""The application log: standard error, as text or as JSON lines. Events are not logs; they go to standard output."""

import json
import logging
import sys
from datetime import UTC, datetime

FORMATS = ("text", "json")
_QUIET = ("asyncio", "mitmproxy", "hpack", "h2")  # say at INFO what an operator does not need
_ESCAPED = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}  # control characters: C0, DEL, C1


class JsonFormatter(logging.Formatter):
    """One JSON object a line; control characters are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if decision := getattr(record, "decision", None):
            entry["decision"] = decision
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


class TextFormatter(logging.Formatter):
    """Level and message, for people; line breaks within a message cannot forge a second entry."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        message = record.getMessage().translate(_ESCAPED)
        decision = getattr(record, "decision", None)
        text = f"outward: {record.levelname.lower()}: {message}{f' (decision {decision})' if decision else ''}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def set_up(form: str, least: int = logging.INFO) -> None:
    """Send the log to standard error in one of FORMATS."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(handlers=[handler], force=True)
    level(least)


def level(least: str | int) -> None:
    """Log nothing below a level from now on.

    Args:
        least: `debug`, `info`, `warning` or `error`, or the number of a level.
    """
    number = logging.getLevelNamesMapping()[least.upper()] if isinstance(least, str) else least
    logging.getLogger().setLevel(number)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))


def about(decision: str) -> dict[str, str]:
    """Return the `extra` of an entry about a decision, by its id: `blocked`, the page and the client know it."""
    return {"decision": decision}
