"""`@pip`: the indexes that pip and uv are set up to use, and the hosts that serve their files.

pip's settings are read as pip reads them (pip's user guide, *Configuration*): the system's files, the user's, that of
an environment, then variables, each over the one before. pip's default index and its file host are read from pip's own
program text. Where another index is set up, its page for pip's own project is read once, and the hosts that it links to
are added.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from outward.config.machine.hosts import entries, sections, text_of
from outward.config.machine.surroundings import Surroundings
from outward.config.machine.uv import uv_indexes
from outward.config.sets import Hosts

_INDEX = "pip/_internal/models/index.py"
_DEFAULT = re.compile(
    r"""^PyPI = PackageIndex\(\s*["'](https://[^"']+)["'],\s*file_storage_domain=["']([^"']+)""", re.MULTILINE
)
_SECTIONS = ("global", "install", "download", "wheel")
_OFF = ("0", "false", "no", "off")
_INSTALLED = ("lib/python3*/site-packages", "lib/python3*/dist-packages", "lib/python3/dist-packages")
_BUNDLED = ("lib/python3*/ensurepip/_bundled/pip-*.whl", "share/python-wheels/pip-*.whl")


def pip_hosts(around: Surroundings) -> Hosts:
    """Return the hosts of the indexes, of what they link to, and of `find-links` pages."""
    prefixes = list(dict.fromkeys(_prefixes(around)))
    settings, default = _settings(around, prefixes), _default(around, prefixes)
    own = uv_indexes(around)
    indexed = not _values(settings, "no-index") or _values(settings, "no-index")[-1].lower() in _OFF
    chosen = _values(settings, "index-url")
    problem = "" if default or chosen or own or not indexed else "pip is not installed here"
    indexes = chosen or ([default[0]] if default else [])
    more = (*_values(settings, "extra-index-url"), *_values(settings, "find-links"))
    urls, files = [*own, *(indexes if indexed else ()), *more], list[str]()
    for url in dict.fromkeys(each for each in urls if each.startswith(("http://", "https://"))):
        if default and _host(url) == _host(default[0]):
            files.append(f"https://{default[1]}")
            continue
        linked = _linked(url, next(iter(_values(settings, "cert")), None))
        if linked is None:
            problem = "the host of an index's files is not known: its page could not be read"
        files += linked or ()
    return entries([*urls, *files], problem)


def pip_certificate(around: Surroundings) -> str | None:
    """Return the file of roots that pip is set up to trust instead of the system's; None for none."""
    return next(iter(_values(_settings(around, list(dict.fromkeys(_prefixes(around)))), "cert")), None)


def _host(url: str) -> str:
    return url.partition("://")[2].rpartition("@")[2].partition("/")[0]


def _values(settings: Mapping[tuple[str, str], str], key: str) -> list[str]:
    """Return the words of a setting: the environment's, else those of every section that pip installs by."""
    if (":env:", key) in settings:
        return settings[":env:", key].split()
    return [word for section in _SECTIONS for word in settings.get((section, key), "").split()]


def _settings(around: Surroundings, prefixes: list[Path]) -> dict[tuple[str, str], str]:
    """Return values by section and key, `:env:` being the environment."""
    env = around.env
    found: dict[tuple[str, str], str] = {}
    for path in _files(around, prefixes):
        found |= {(section, _key(key)): value for section, key, value in sections(text_of(path))}
    said = {_key(name.removeprefix("PIP_")): value for name, value in env.items() if name.startswith("PIP_")}
    return found | {(":env:", key): value for key, value in said.items() if value}


def _key(name: str) -> str:
    return name.lower().replace("_", "-").removeprefix("--")


def _files(around: Surroundings, prefixes: list[Path]) -> Iterator[Path]:
    """Yield pip's configuration files, the weakest first."""
    if around.env.get("PIP_CONFIG_FILE") == os.devnull:
        return
    named = around.named("PIP_CONFIG_FILE")
    folders = (around.env.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep)
    yield from (around.system(f"{folder}/pip/pip.conf") for folder in folders if folder.startswith("/"))
    yield around.system("/etc/pip.conf")
    if named is None:
        if around.home:
            yield around.home / ".pip/pip.conf"
            yield around.home / "Library/Application Support/pip/pip.conf"
        if around.config:
            yield around.config / "pip/pip.conf"
    yield from (prefix / "pip.conf" for prefix in prefixes[:1])
    if named is not None:
        yield named


def _default(around: Surroundings, prefixes: list[Path]) -> tuple[str, str] | None:
    """Return the URL of pip's default index and the host of its files, as a pip outside the working tree has them."""
    for text in _sources(around, prefixes):
        if match := _DEFAULT.search(text):
            return f"{match[1].rstrip('/')}/simple", match[2]
    return None


def _sources(around: Surroundings, prefixes: list[Path]) -> Iterator[str]:
    """Yield the program text in which pips name their default index."""
    for prefix in prefixes:
        for pattern in (*_INSTALLED, *_BUNDLED):
            for each in prefix.glob(pattern):
                if not around.tree.holds(each):
                    yield _zipped(each) if each.suffix == ".whl" else text_of(each / _INDEX)


def _zipped(wheel: Path) -> str:
    import zipfile  # noqa: PLC0415 - only where no pip is installed

    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(_INDEX).decode("utf-8", "replace")
    except (OSError, KeyError, zipfile.BadZipFile):
        return ""


def _prefixes(around: Surroundings) -> Iterator[Path]:
    """Yield where Pythons are installed: the active environment, those on the path, our own; none in the tree."""
    active = around.named("VIRTUAL_ENV")
    if active is not None:
        yield active
    for program in around.programs("pip", "pip3", "python3", "python"):
        yield program.parent.parent
        yield program.resolve().parent.parent
    yield from (each for each in map(Path, (sys.prefix, sys.base_prefix)) if not around.tree.holds(each))


def _linked(url: str, certificates: str | None) -> list[str] | None:
    from outward.config.machine.simple import linked_urls  # noqa: PLC0415 - loads an HTTP client, which few need

    return linked_urls(url, certificates)
