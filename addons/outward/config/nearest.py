"""The nearest known word to a misspelt one."""

from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a cure: the nearest known word, else all of them where they are few, else nothing."""
    from difflib import get_close_matches  # noqa: PLC0415 - only where a word is misspelt

    words = sorted(known)
    near = get_close_matches(word[:80], words, n=1, cutoff=0.6)
    if near:
        return f"did you mean `{near[0]}`?"
    return "one of " + ", ".join(f"`{each}`" for each in words) if 0 < len(words) <= 20 else ""
