"""`@apt`: the hosts in apt's source lists, one-line style and deb822 style (sources.list(5))."""

import re
from collections.abc import Iterator
from pathlib import Path

from outward.config.machine.hosts import entries, text_of
from outward.config.sets import Hosts

_ONE_LINE = re.compile(r"\s*deb(?:-src)?\s+(?:\[[^\]]*\]\s*)?(\S+)")
_MIRROR_FILE = re.compile(r"mirror\+file:(?://)?(/\S+)")


def apt_hosts(root: Path) -> Hosts:
    """Return the hosts that apt fetches from."""
    folder = root / "etc/apt"
    if not folder.is_dir():
        return Hosts(problem="apt is not set up here")
    urls = list(_urls(folder))
    mirrors = [url for each in urls if (match := _MIRROR_FILE.fullmatch(each)) for url in _mirrors(root, match[1])]
    return entries([*urls, *mirrors])


def _urls(folder: Path) -> Iterator[str]:
    for path in [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*.list"))]:
        for line in text_of(path).splitlines():
            if match := _ONE_LINE.match(line):
                yield match[1]
    for path in sorted((folder / "sources.list.d").glob("*.sources")):
        for stanza in re.split(r"\n[ \t]*\n", text_of(path)):
            fields = _fields(stanza)
            if fields.get("enabled", "yes").strip().lower() not in ("no", "false", "0"):
                yield from fields.get("uris", "").split()


def _fields(stanza: str) -> dict[str, str]:
    """Return the fields of a deb822 stanza; a line that begins with a blank continues the one before."""
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line[:1] in (" ", "\t") and name:
            fields[name] += f" {line.strip()}"
        else:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields


def _mirrors(root: Path, path: str) -> list[str]:
    """Return the addresses in a mirror list (apt-transport-mirror(1))."""
    lines = text_of(root / path.lstrip("/")).splitlines()
    return [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]
