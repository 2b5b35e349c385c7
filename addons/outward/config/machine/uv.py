"""The indexes that uv is set up to use: its environment variables and its user and system files."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_VARIABLES = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL")


def uv_indexes(env: Mapping[str, str], system: Path = Path("/etc/uv/uv.toml")) -> list[str]:
    """Return the URLs; empty where uv keeps to its default."""
    urls = [word.rpartition("=")[2] for name in _VARIABLES for word in env.get(name, "").split()]
    home = env.get("XDG_CONFIG_HOME") or (f"{env['HOME']}/.config" if env.get("HOME") else "")
    for path in ([Path(home) / "uv/uv.toml"] if home else []) + [system]:
        urls += _in_file(path)
    return urls


def _in_file(path: Path) -> Iterator[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
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
