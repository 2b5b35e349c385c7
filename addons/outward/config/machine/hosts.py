"""Reading configuration files of package managers, and hosts out of URLs. Nothing is run."""

import configparser
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from outward.config.sets import Hosts
from outward.core.names import MalformedHostError, canonical_host
from outward.files import read_regular

_DEFAULT_PORTS = (80, 443)
_REMOTE = ("http", "https")
_VARIABLE = re.compile(r"(?<!\\)\$\{([^${}?]+)\??\}")


def text_of(path: Path) -> str:
    """Return a file's text; none where there is no such file, or it cannot be read."""
    try:
        return read_regular(path).decode("utf-8", "replace")
    except OSError:
        return ""


def sections(text: str) -> list[tuple[str, str, str]]:
    """Return section, key and value of an INI file as Python's own parser reads it; nothing of a damaged one."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text)
    except configparser.Error:
        return []
    return [(section, key, value) for section in parser.sections() for key, value in parser.items(section)]


def pairs(text: str, env: Mapping[str, str]) -> dict[str, str]:
    """Return the `key = value` lines of an npmrc, with `${VARIABLE}` replaced; its sections and lists are left out."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if not equals or key[:1] in ("", "#", ";", "["):
            continue
        value = value.strip().strip("\"'")
        found[key.strip().strip("\"'")] = _VARIABLE.sub(lambda match: env.get(match[1], match[0]), value)
    return found


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
