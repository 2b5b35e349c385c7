"""Files of roots that the user's tools are set up to trust: a company's CA stands there as often as not.

Read from the user's and the machine's own configuration of pip, npm, git, cargo and the AWS command line, and never
from the working tree's. What is named in variables is not looked for here.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from outward.config.machine.hosts import sections, text_of
from outward.config.machine.npm import npm_settings
from outward.config.machine.pip import pip_certificate
from outward.config.machine.surroundings import Surroundings

_SECTION = re.compile(r"""\s*\[\s*http(?:\s+"[^"]*")?\s*\]""", re.IGNORECASE)
_FILE = re.compile(r"""\s*ssl(?:CAInfo|CAPath)\s*=\s*(?:"([^"]*)"|([^\s#;]+))""", re.IGNORECASE)


def authorities(around: Surroundings) -> tuple[Path, ...]:
    """Return the files, and for git also folders, each once; whether they can be read is not looked at."""
    found = (*_pip(around), *_npm(around), *_git(around), *_cargo(around), *_aws(around))
    paths = dict.fromkeys(path for text in found if (path := _path(around, text)) is not None)
    return tuple(path for path in paths if not around.tree.holds(path))


def _path(around: Surroundings, text: str) -> Path | None:
    """Return a full path; None for a relative one, which means another file in every folder."""
    path = around.home / text[2:] if text.startswith("~/") and around.home else Path(text)
    return path if path.is_absolute() else None


def _pip(around: Surroundings) -> Iterator[str]:
    text = pip_certificate(around)
    yield from [text] if text else ()


def _npm(around: Surroundings) -> Iterator[str]:
    text = npm_settings(around).get("cafile")
    yield from [text] if text else ()


def _git(around: Surroundings) -> Iterator[str]:
    """Yield what `http.sslCAInfo` and `http.sslCAPath` name, those for one URL included (git-config(1))."""
    places = [around.system("/etc/gitconfig")]
    places += [around.config / "git/config"] if around.config else []
    places += [around.home / ".gitconfig"] if around.home else []
    for place in places:
        inside = False
        for line in text_of(place).splitlines():
            if line.lstrip().startswith("["):
                inside = _SECTION.match(line) is not None
            elif inside and (match := _FILE.match(line)):
                yield match[1] or match[2] or ""


def _cargo(around: Surroundings) -> Iterator[str]:
    folder = around.named("CARGO_HOME") or (around.home and around.home / ".cargo")
    text = text_of(folder / "config.toml") if folder else ""
    if "cainfo" in text:
        import tomllib  # noqa: PLC0415 - few have such a setting

        try:
            value = tomllib.loads(text).get("http", {}).get("cainfo")
        except (ValueError, AttributeError):
            return
        yield from [value] if isinstance(value, str) else ()


def _aws(around: Surroundings) -> Iterator[str]:
    place = around.named("AWS_CONFIG_FILE") or (around.home and around.home / ".aws/config")
    for _, key, value in sections(text_of(place)) if place else ():
        if key == "ca_bundle":
            yield value
