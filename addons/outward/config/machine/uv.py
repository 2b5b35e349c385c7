"""The indexes that uv is set up to use: its environment variables and its user and system files."""

from collections.abc import Iterator
from typing import Any

from outward.config.machine.hosts import text_of
from outward.config.machine.surroundings import Surroundings

_VARIABLES = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL")


def uv_indexes(around: Surroundings) -> list[str]:
    """Return the URLs; empty if uv keeps to its default. A project's own files do not count."""
    urls = [word.rpartition("=")[2] for name in _VARIABLES for word in around.env.get(name, "").split()]
    for path in ([around.config / "uv/uv.toml"] if around.config else []) + [around.system("/etc/uv/uv.toml")]:
        urls += _in_file(text_of(path))
    return urls


def _in_file(text: str) -> Iterator[str]:
    if not text:
        return
    import tomllib  # noqa: PLC0415 - few have such a file

    try:
        document = tomllib.loads(text)
    except ValueError:
        return
    for table in (document, document.get("pip", {})):
        yield from _in_table(table) if isinstance(table, dict) else ()


def _in_table(table: dict[str, Any]) -> Iterator[str]:
    for key in ("index-url", "extra-index-url"):
        value = table.get(key)
        yield from [value] if isinstance(value, str) else [str(each) for each in value or ()]
    for index in table.get("index", ()):
        if isinstance(index, dict) and isinstance(index.get("url"), str):
            yield index["url"]
