"""Names that look like other names: labels of mixed scripts, and labels of look-alikes of Latin letters.

After UTS 39 in spirit: small on purpose, for a warning to the one who writes a rule. Never used to decide.
"""

import unicodedata

import idna

_TOGETHER = (
    frozenset({"CJK", "HIRAGANA", "KATAKANA", "LATIN"}),
    frozenset({"CJK", "HANGUL", "LATIN"}),
    frozenset({"CJK", "BOPOMOFO", "LATIN"}),
)
_LOOK_ALIKES = str.maketrans(
    {
        "\N{CYRILLIC SMALL LETTER A}": "a",
        "\N{CYRILLIC SMALL LETTER IE}": "e",
        "\N{CYRILLIC SMALL LETTER O}": "o",
        "\N{CYRILLIC SMALL LETTER ER}": "p",
        "\N{CYRILLIC SMALL LETTER ES}": "c",
        "\N{CYRILLIC SMALL LETTER U}": "y",
        "\N{CYRILLIC SMALL LETTER HA}": "x",
        "\N{CYRILLIC SMALL LETTER BYELORUSSIAN-UKRAINIAN I}": "i",
        "\N{CYRILLIC SMALL LETTER JE}": "j",
        "\N{CYRILLIC SMALL LETTER DZE}": "s",
        "\N{CYRILLIC SMALL LETTER SHHA}": "h",
        "\N{CYRILLIC SMALL LETTER KOMI DE}": "d",
        "\N{CYRILLIC SMALL LETTER QA}": "q",
        "\N{CYRILLIC SMALL LETTER WE}": "w",
        "\N{CYRILLIC SMALL LETTER PALOCHKA}": "l",
        "\N{GREEK SMALL LETTER ALPHA}": "a",
        "\N{GREEK SMALL LETTER OMICRON}": "o",
        "\N{GREEK SMALL LETTER NU}": "v",
        "\N{GREEK SMALL LETTER RHO}": "p",
        "\N{GREEK SMALL LETTER IOTA}": "i",
        "\N{GREEK SMALL LETTER KAPPA}": "k",
        "\N{LATIN SMALL LETTER DOTLESS I}": "i",
        "\N{LATIN SMALL LETTER SCRIPT G}": "g",
    }
)


def looks_like(name: str) -> str | None:
    """Return what is suspicious about a canonical name, as the end of a sentence; None if nothing is.

    Example:
        >>> looks_like("xn--pple-43d.com")
        'looks like `apple` and is not: `\u0430pple` is `xn--pple-43d`'
    """
    if "xn--" not in name:
        return None
    for label in name.split("."):
        if not label.startswith("xn--"):
            continue
        try:
            shown = idna.ulabel(label)
        except idna.IDNAError:
            return f"cannot be shown: `{label}`"
        skeleton = shown.translate(_LOOK_ALIKES)
        if skeleton.isascii():
            return f"looks like `{skeleton}` and is not: `{shown}` is `{label}`"
        scripts = {_script(character) for character in shown if character.isalpha()}
        if len(scripts) > 1 and not any(scripts <= together for together in _TOGETHER):
            return f"mixes scripts ({', '.join(sorted(each.title() for each in scripts))}): `{shown}` is `{label}`"
    return None


def _script(character: str) -> str:
    return unicodedata.name(character, "UNKNOWN").partition(" ")[0].partition("-")[0]
