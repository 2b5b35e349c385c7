"""Names that look like others."""

from outward.core.confusable import looks_like


def test_a_label_that_cannot_be_shown_is_suspicious() -> None:
    assert looks_like("xn--a.example") == "cannot be shown: `xn--a`"
    assert looks_like("plain.example") is None
