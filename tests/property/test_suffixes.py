"""What is a public suffix is told from a few rules as the library tells it from all of them."""

import random
from pathlib import Path

from publicsuffixlist import PSLFILE, PublicSuffixList, encode_idn

from outward.config.suffixes import is_public_suffix, registrable


def test_a_few_rules_say_what_the_whole_list_says() -> None:
    lines = Path(PSLFILE).read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("//")]
    odd = [rule for rule in rules if not rule.isascii() or rule.startswith(("!", "*."))]
    usual = random.Random(20261130).sample(rules, 500)
    whole = PublicSuffixList()
    for rule in (*odd, *usual, "unlisted", "localhost"):
        base = encode_idn(rule.removeprefix("!").removeprefix("*."))
        for name in (base, f"x.{base}", f"y.x.{base}"):
            assert is_public_suffix(name) == (whole.publicsuffix(name) == name), name
            assert registrable(name) == whole.privatesuffix(name), name
