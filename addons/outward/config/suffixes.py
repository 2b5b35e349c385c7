"""Public suffixes (publicsuffix.org): names directly below which anybody may register.

The library judges by the rules that can touch a name. All ten thousand it would read one by one, which takes as long as
everything else about a configuration.
"""

from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList


@lru_cache(maxsize=8192)
def is_public_suffix(name: str) -> bool:
    """Tell whether a canonical name is a public suffix, a registry's or a company's."""
    return bool(_touching(name).publicsuffix(name) == name)


@lru_cache(maxsize=8192)
def registrable(name: str) -> str | None:
    """Return the registrable domain of a canonical name, or None for a public suffix."""
    found = _touching(name).privatesuffix(name)
    return None if found is None else str(found)


def is_registrys(name: str) -> bool:
    """Tell whether a public suffix is a registry's, and not one of a company that lets others have names below it."""
    return bool(_registries().publicsuffix(name) == name)


@cache
def _registries() -> "PublicSuffixList":
    from publicsuffixlist import PublicSuffixList  # noqa: PLC0415 - as below

    return PublicSuffixList(only_icann=True)


def _touching(name: str) -> "PublicSuffixList":
    """Return the list of those rules alone that are about a name or one above it."""
    from publicsuffixlist import PublicSuffixList  # noqa: PLC0415 - many configurations have no wildcard

    labels = name.split(".")
    above = [".".join(labels[at:]) for at in range(len(labels))]
    forms = dict.fromkeys([*above, *map(_unicode, above)])
    rules = (rule for form in forms for rule in (form, f"*.{form}", f"!{form}"))
    return PublicSuffixList([rule for rule in rules if rule.encode() in _lines()])


def _unicode(name: str) -> str:
    """Return a name as the list has it."""
    if "xn--" not in name:
        return name
    try:
        return name.encode("ascii").decode("idna")
    except UnicodeError:
        return name


@cache
def _lines() -> frozenset[bytes]:
    from publicsuffixlist import PSLFILE  # noqa: PLC0415 - as above

    lines = Path(PSLFILE).read_bytes().splitlines()
    return frozenset(line for line in lines if not line.startswith(b"//"))
