"""The proxy that the caller's environment names already: a company's, which then becomes the parent of `outward run`.

Owns the reading of `HTTPS_PROXY` and `NO_PROXY` as their users write them. Pure, and never repeats credentials.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from outward.config.no_proxy import direct
from outward.config.patterns import PatternError
from outward.config.settings import Settings
from outward.config.values import parent_url
from outward.core.model import PatternKind, Place, Rule

# In the order in which they are asked; a proxy for plain HTTP is better than no way out.
_VARIABLES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy")
_EXEMPT = ("NO_PROXY", "no_proxy")
_HERE = frozenset({"localhost", "127.0.0.1", "127.0.0.0/8", "::1"})  # stays with the command
_SHOWN = 6


class PresetError(ValueError):
    """The environment names a proxy that cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Preset:
    """What the environment says.

    Attributes:
        variable: which one names the proxy; empty where none does.
        url: of the proxy, with credentials.
        direct: destinations that it is not for.
        moved: what `NO_PROXY` says beside this machine itself.
        unread: what of it is no host.
    """

    variable: str = ""
    url: str = field(default="", repr=False)
    direct: tuple[Rule, ...] = ()
    moved: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()

    def over(self, settings: Settings) -> Settings:
        """Return settings with the proxy as parent, unless they name one."""
        if not self.url or settings.parent_proxy is not None:
            return settings
        return replace(settings, parent_proxy=self.url, no_proxy=(*settings.no_proxy, *self.direct))

    def told(self, settings: Settings) -> Iterator[str]:
        """Yield what a person should know; `settings` are those before."""
        used = bool(self.url) and settings.parent_proxy is None
        if used:
            place = parent_url(self.url)
            where = f"{place.host}:{place.port}"
            yield (
                f"{self.variable} is the parent proxy: what is allowed goes through {where}, which resolves names; "
                "--no-parent goes without it"
            )
        elif self.url:
            yield f"{self.variable} is not used: the configuration names a parent proxy"
        if self.moved:
            more = f" and {len(self.moved) - _SHOWN} more" if len(self.moved) > _SHOWN else ""
            what = f"what NO_PROXY names ({', '.join(self.moved[:_SHOWN])}{more}) goes through Outward too"
            yield f"{what}, and from there directly" if used else what
        if self.unread:
            yield f"NO_PROXY holds what is no host: {', '.join(map(_clean, self.unread[:_SHOWN]))}"


def preset(env: Mapping[str, str], *, parent: bool = True) -> Preset:
    """Return the proxy of an environment, and what it is not for.

    Args:
        env: the caller's environment.
        parent: whether its proxy may be used.

    Raises:
        PresetError: a proxy is named that speaks no plain HTTP.
    """
    said = next((env[name] for name in _EXEMPT if env.get(name)), "")
    words = [word for word in re.split(r"[,\s]+", said) if word]
    rules = {word: _direct(word) for word in words}
    read = Preset(
        direct=tuple(rule for rule in rules.values() if rule is not None),
        moved=tuple(word for word in words if rules[word] is not None and word.strip("[]") not in _HERE),
        unread=tuple(word for word in words if rules[word] is None),
    )
    variable = next((name for name in _VARIABLES if env.get(name)), "") if parent else ""
    if not variable or "*" in words:
        return read
    text = env[variable]
    url = text if "://" in text else f"http://{text}"
    try:
        parent_url(url)
    except ValueError:
        raise PresetError(_refusal(variable, url)) from None
    return replace(read, variable=variable, url=url)


def _refusal(variable: str, url: str) -> str:
    scheme = url.partition("://")[0].lower()
    what = "names no host and port" if scheme == "http" else f"names a proxy that speaks {_clean(scheme)}"
    return (
        f"{variable} {what}: a parent proxy is `http://host:port`, with `user:password@` before the host if it asks "
        "for them; --no-parent goes without it"
    )


def _direct(word: str) -> Rule | None:
    """Return a word as a rule: a name stands for all below it too, as most programs read it; None for what is none."""
    place = Place("NO_PROXY", 0)
    bare = f"[{word}]" if word.count(":") > 1 and "[" not in word and "/" not in word else word
    try:
        rule = direct(bare, place)
        if rule.pattern.kind is PatternKind.EXACT:
            rule = direct(f".{bare}", place)
    except PatternError:
        return None
    return rule


def _clean(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text[:64])
