"""Public suffixes, loaded on first use: names under which anybody may register, which no filter may hold."""

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList


@lru_cache(maxsize=1)
def _list() -> "PublicSuffixList":
    from publicsuffixlist import PublicSuffixList  # noqa: PLC0415 - a tenth of a second that most commands never need

    return PublicSuffixList()


@lru_cache(maxsize=8192)
def is_public_suffix(name: str) -> bool:
    """Tell whether a canonical name is a public suffix (publicsuffix.org, private section included)."""
    return bool(_list().publicsuffix(name) == name)


@lru_cache(maxsize=8192)
def registrable(name: str) -> str | None:
    """Return the registrable domain of a canonical name, or None for a public suffix."""
    found = _list().privatesuffix(name)
    return None if found is None else str(found)
