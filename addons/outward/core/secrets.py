"""Secrets that the client never holds: where they are set, and where their placeholders give them away.

A client sends nothing, or a placeholder, where a secret belongs, and the proxy sets the value there. A placeholder
anywhere else, and any other value there, is denied: the first would carry a secret to somebody, the second is a key
that nobody gave the client. Pure: knows names of secrets and, while it writes a field, their values; keeps
of values what finds them in answers.
"""

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from outward.core.placeholders import found_in, placeholder, plain_of

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
SHORTEST = 8  # characters of a value, as of a password in NIST SP 800-63B; shorter ones stand in much that is none
_REFERENCE = re.compile(r"\{([^{}]*)\}")
_SCHEME = re.compile(r"(?:[A-Za-z][A-Za-z0-9-]* +)?")
_ESCAPED = re.compile(r"[^A-Za-z0-9_.-]")  # what URLs, JSON or HTML may write otherwise
_LETTER = "[A-Za-z0-9+/_-]"  # of Base64
_LAST = f"{_LETTER}?={{0,2}}"
_URL_SAFE = str.maketrans("+/", "-_")
_BEGIN = 10  # letters of Base64 that are found fast; those of the shortest value


class TemplateError(ValueError):
    """A template cannot be used; its text is a sentence for the person who wrote it."""


@dataclass(frozen=True, slots=True)
class Injection:
    """What the proxy sets on requests that a rule allows.

    Attributes:
        header: lower-case name of the field.
        template: its value, `{name}` standing for a secret.
        basic: the template is `user:password`, and goes out as Basic credentials (RFC 7617).
        always: it is set where the client sent nothing too; else a placeholder is replaced, and no more.
    """

    header: str
    template: str
    basic: bool = False
    always: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """The secrets that it needs.

        Example:
            >>> Injection("authorization", "Bearer {github}").names
            ('github',)
        """
        return tuple(dict.fromkeys(_REFERENCE.findall(self.template)))

    @property
    def written(self) -> str:
        """The entry in YAML.

        Example:
            >>> Injection("authorization", "Bearer {github}").written
            '{header: authorization, value: "Bearer {github}"}'
        """
        if self.basic:
            return f"{{basic: {json.dumps(self.template)}}}"
        return f"{{header: {self.header}, value: {json.dumps(self.template)}}}"

    def check(self) -> None:
        """Refuse a template that holds no secret, or what no field can hold.

        Raises:
            TemplateError: with a sentence that says what to write.

        Example:
            >>> Injection("authorization", "Bearer {github}").check()
        """
        if not self.names:
            raise TemplateError("name a secret in braces, such as `Bearer {github}`")
        if re.search(r"[^\x20-\x7e]", self.template):
            raise TemplateError("a header holds printable ASCII alone")
        if self.basic and ":" not in self.template:
            raise TemplateError("Basic credentials are `user:password`, such as `x-access-token:{github}`")

    def value(self, values: Mapping[str, str]) -> str:
        """Return the field's value.

        Raises:
            KeyError: a secret has no value.

        Example:
            >>> Injection("authorization", "Bearer {github}").value({"github": "ghp_example1"})
            'Bearer ghp_example1'
        """
        text = _REFERENCE.sub(lambda match: values[match[1]], self.template)
        return f"Basic {b64encode(text.encode()).decode()}" if self.basic else text


_TOLD = re.compile(r"the placeholder of ([A-Za-z0-9_-]+) stands in ")


class MisdirectedError(ValueError):
    """A placeholder, or another credential, stands where it must not.

    Attributes:
        secret: whose placeholder it is; None if it is another credential.
    """

    def __init__(self, where: str, secret: str | None) -> None:
        what = f"the placeholder of {secret}" if secret else "a credential that the proxy did not give"
        super().__init__(f"{what} stands in {where}")
        self.secret = secret


def secret_of(told: str | None) -> str | None:
    """Return whose placeholder a refusal tells of, or None if it tells of none.

    Example:
        >>> secret_of(str(MisdirectedError("the URL", "github")))
        'github'
    """
    found = _TOLD.match(told or "")
    return None if found is None else found[1]


def placed(
    injections: Iterable[Injection],
    fields: Iterable[tuple[str, str]],
    values: Mapping[str, str],
    *,
    clean: bool = False,
) -> dict[str, str]:
    """Return the fields to set on an allowed request, by lower-case name.

    Args:
        injections: of the rule that allows it, each in a field of its own.
        fields: names in lower case, and values, as the client sent them.
        values: of every secret that there is, by name.
        clean: no placeholder can stand in any field.

    Raises:
        MisdirectedError: a placeholder stands in another field, or another value in one of these.
        KeyError: a secret has no value.

    Example:
        >>> sets = Injection("authorization", "Bearer {github}")
        >>> placed([sets], [("authorization", "Bearer outward-secret-github")], {"github": "ghp_example1"})
        {'authorization': 'Bearer ghp_example1'}
    """
    wanted, found = {each.header: each for each in injections}, dict[str, str]()
    spellings = {_folded(name) for name in wanted}
    for name, value in fields:
        injection = wanted.get(name)
        if injection is None:
            secret = None if clean else _in_field(name, value, values)
            if secret is not None or _folded(name) in spellings:  # CGI-like servers would read it as the same field
                raise MisdirectedError(f"the field {name}", secret)
        elif name in found:
            raise MisdirectedError(f"the second field {name}", None)
        else:
            found[name] = _filled(injection, value, values)
    absent = {each.header: each.value(values) for each in wanted.values() if each.always and each.header not in found}
    return found | absent


def _in_field(name: str, value: str, names: Iterable[str]) -> str | None:
    """Return the secret whose placeholder stands in a field, its name also read as CGI-like servers do."""
    folded = {_folded(each): each for each in names}
    return (
        found_in(name, folded.values())
        or found_in(value, folded.values())
        or folded.get(found_in(_folded(name), folded) or "")
    )


def _filled(injection: Injection, given: str, values: Mapping[str, str]) -> str:
    """Return the client's value with its placeholder replaced: alone, behind a scheme, or within Basic credentials."""
    if given == _stand_in(injection):
        return injection.value(values)
    for name in injection.names:
        held = placeholder(name)
        if given.endswith(held) and _SCHEME.fullmatch(given.removesuffix(held)):
            return given.removesuffix(held) + values[name]
        scheme, _, encoded = given.partition(" ")
        user, colon, password = plain_of(encoded.strip(" ")).partition(":")
        if scheme.lower() == "basic" and colon and held in (user, password):
            pair = (values[name] if each == held else each for each in (user, password))
            return f"{scheme} {b64encode(':'.join(pair).encode()).decode()}"
    raise MisdirectedError(f"the field {injection.header}", found_in(given, values))


def _stand_in(injection: Injection) -> str:
    return injection.value({name: placeholder(name) for name in injection.names})


def _folded(name: str) -> str:
    return name.replace("_", "-").replace(".", "-")


def masked(text: str, values: Mapping[str, str], sent: Iterable[str] = ()) -> str:
    """Return a text with every secret's value in it replaced by its placeholder.

    A value is found as it is, with its signs escaped as in URLs, JSON or HTML, and within Base64 of either alphabet.

    Args:
        text: of an answer, or of an environment.
        values: of secrets, by name; the longest goes first, since a shorter one may be a part of it.
        sent: fields that were set on the request; Basic credentials among them hold a value that the text may repeat.

    Example:
        >>> masked("Bearer abcdefgh12", {"key": "abcdefgh12"})
        'Bearer outward-secret-key'
        >>> masked("?to=abc%2Fdefgh", {"key": "abc/defgh"})
        '?to=outward-secret-key'
    """
    for field in sent:
        encoded = field.rpartition(" ")[2].rstrip("=")
        plain = plain_of(encoded) if encoded in text else ""
        hidden = masked(plain, values) if plain else ""
        if hidden != plain:
            text = text.replace(encoded, b64encode(hidden.encode()).decode().rstrip("="))
    for name in sorted(values, key=lambda each: len(values[each]), reverse=True):
        for sign, form in _forms(values[name]):
            if sign in text:
                text = form.sub(placeholder(name), text)
    return text


def signs(values: Iterable[str]) -> re.Pattern[str] | None:
    """Return what is found in every text, in small letters, that `masked` may change; None without values.

    Example:
        >>> bool(signs(["ghp_Value"]).search("/x/ghp_value")), signs([])
        (True, None)
    """
    found = {sign.lower() for value in values for sign, _ in _forms(value)}
    return re.compile("|".join(map(re.escape, sorted(found)))) if found else None


@lru_cache(maxsize=1024)
def _forms(value: str) -> tuple[tuple[str, re.Pattern[str]], ...]:
    """Return the forms of a value: what is found fast in each text that holds one, and what matches the whole."""
    if not value:
        return ()
    sign = max(_ESCAPED.split(value), key=len)
    forms = {sign: "".join(_escaped(each) if _ESCAPED.match(each) else each for each in value)}
    for before in range(3):  # bytes of a group of three that stand before it
        letters = b64encode(b"\0" * before + value.encode("utf-8", "surrogateescape")).decode()
        mixed = letters.endswith("=")  # the last letter is also of what follows
        core = letters.rstrip("=")[before and before + 1 : -1 if mixed else None]
        wrapped = r"(?:\r?\n)?".join({"+": "[+-]", "/": "[/_]"}.get(each, each) for each in core)
        for begin in (core[:_BEGIN], core[:_BEGIN].translate(_URL_SAFE)):
            forms[begin] = f"{_LETTER if before else ''}{wrapped}{_LAST if mixed else ''}"
    return tuple((sign, re.compile(form)) for sign, form in forms.items())


def _escaped(sign: str) -> str:
    """Return what matches a sign as it is, or escaped for a URL (also twice), JSON or HTML."""
    from html import escape  # noqa: PLC0415 - it brings all names of signs, and few have secrets

    code = f"(?i:{ord(sign):02x})"
    forms = (rf"\\?{re.escape(sign)}", f"%(?:25)*{code}", rf"\\u00{code}", re.escape(escape(sign)))
    return f"(?:{'|'.join(forms)}|&#(?:0*{ord(sign)}|[xX]0*{code});)"
