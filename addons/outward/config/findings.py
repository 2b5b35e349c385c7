"""What `outward check` finds: each code, what it means, and the smallest file that brings it."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import yaml


@dataclass(frozen=True, slots=True)
class FindingMeaning:
    """What a code stands for.

    Attributes:
        code: such as `E012`; errors begin with E, warnings with W.
        means: in words.
        example: a configuration that brings it; None if that takes more than one file.
    """

    code: str
    means: str
    example: str | None = None


@cache
def meanings() -> dict[str, FindingMeaning]:
    """Return every code with its meaning, in their order.

    Example:
        >>> meanings()["E004"].means
        'duplicate key'
    """
    text = files("outward.config").joinpath("findings.yaml").read_text("utf-8")
    return {code: FindingMeaning(code, **entry) for code, entry in yaml.safe_load(text).items()}
