"""The application log: standard error, as text or as JSON lines. Events are not logs; they go to standard output."""

import json
import logging
import sys
from datetime import UTC, datetime

FORMATS = ("text", "json")
_QUIET = ("asyncio", "mitmproxy", "hpack", "h2")  # say at INFO what an operator does not need


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
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry)


class TextFormatter(logging.Formatter):
    """Level and message, for people; line breaks within a message cannot forge a second entry."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        message = record.getMessage().translate({code: f"\\x{code:02x}" for code in range(32)})
        text = f"outward: {record.levelname.lower()}: {message}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def set_up(form: str, level: int = logging.INFO) -> None:
    """Send the log to standard error in one of FORMATS."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
