"""Destinations that a parent proxy is not for."""

from outward.config.patterns import parse_pattern
from outward.core.model import Place, Rule


def direct(text: str, place: Place) -> Rule:
    """Return the rule for a destination that is dialled without the parent proxy; any port where none is written.

    Raises:
        PatternError: the text is no pattern.
    """
    pattern, port = parse_pattern(text, public_suffix=True)
    return Rule(pattern, place, None if port is None else frozenset({port}))
