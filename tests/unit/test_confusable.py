"""Names that look like others."""

import pytest

from outward.core.confusable import looks_like
from outward.core.names import canonical_host


def shown(name: str) -> str | None:
    return looks_like(canonical_host(name).name)


def test_a_label_that_cannot_be_shown_is_suspicious() -> None:
    assert looks_like("xn--a.example") == "cannot be shown: `xn--a`"
    assert looks_like("plain.example") is None


@pytest.mark.parametrize(
    "name", ["пример.example", "bücher.example", "ラーメン.example", "漢字한글abc.example", "中文ㄅ.example"]
)
def test_a_label_of_one_script_or_of_scripts_that_go_together_is_not(name: str) -> None:
    assert shown(name) is None


def test_each_label_is_looked_at() -> None:
    """In front of the suspicious one may stand plain ones."""
    assert shown("www.shop.раура.example") == "looks like `paypa` and is not: `раура` is `xn--80aa0cbo`"
    assert "mixes scripts (Cyrillic, Latin): `gжgle`" in (shown("a.gжgle.example") or "")
