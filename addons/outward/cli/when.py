"""Points in time on the command line: `2h`, `7d`, or RFC 3339."""

import re
import time
from datetime import UTC, datetime
from typing import Any

import click

_AGO = re.compile(r"([0-9]{1,9})(s|m|h|d|w)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class When(click.ParamType[float]):
    """Converts to a Unix time in seconds; a time without a zone is UTC."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read an age or a date."""
        if isinstance(value, float):
            return value
        if match := _AGO.fullmatch(value):
            return time.time() - int(match[1]) * _SECONDS[match[2]]
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError:
            self.fail(
                f"{value!r} is neither an age such as 2h or 7d nor a time such as 2026-11-21T10:00:00Z", param, ctx
            )
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
