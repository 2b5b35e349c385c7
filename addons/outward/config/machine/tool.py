"""Asking a tool, and reading hosts out of URLs."""

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import urlsplit

from outward.config.sets import Hosts
from outward.core.names import MalformedHostError, canonical_host

TIMEOUT = 10.0  # seconds; a cold disk and a small machine included
_DEFAULT_PORTS = (80, 443)
_REMOTE = ("http", "https")


class ToolError(Exception):
    """The tool is missing, failed, or did not answer in time."""


def ask(command: Sequence[str], env: Mapping[str, str]) -> str:
    """Run a tool and return its standard output.

    Raises:
        ToolError: with a sentence that names the tool and nothing that it printed (it may hold credentials).
    """
    try:
        done = subprocess.run(  # noqa: S603 - the command is ours, found on the caller's PATH
            command, env=dict(env), stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"{command[0]} could not be run") from error
    if done.returncode != 0:
        raise ToolError(f"{command[0]} ended with status {done.returncode}")
    return done.stdout.decode("utf-8", "replace")


def entries(urls: Iterable[str], problem: str = "") -> Hosts:
    """Return the hosts of URLs as rule texts, each once, in their order; local files have none."""
    found: dict[str, None] = {}
    for url in urls:
        try:
            text = _entry(url)
        except (ValueError, MalformedHostError):
            problem = problem or "an address in its configuration has a host that cannot be read"
            continue
        if text:
            found[text] = None
    return Hosts(tuple(found), problem)


def _entry(url: str) -> str:
    parts = urlsplit(url.strip())
    if parts.scheme.lower().rpartition("+")[2] not in _REMOTE or not parts.hostname:
        return ""
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    host = canonical_host(name)
    return str(host) if parts.port is None or parts.port in _DEFAULT_PORTS else f"{host}:{parts.port}"
