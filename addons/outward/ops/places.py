"""Places for answers that take long: few in all and fewer for each token, and the last one is the administrator's."""

from collections import Counter
from collections.abc import Callable

from outward.ops.principals import ALL, Token
from outward.ops.web import Problem

_LATER = {"Retry-After": "30"}


class Places:
    """Bounds how many answers of one kind are under way; belongs to the event loop's thread."""

    def __init__(self, what: str, total: int, each: int) -> None:
        """Prepare.

        Args:
            what: is counted, in words and in the plural.
            total: places in all; the last one is kept for tokens of every group.
            each: places of one token.
        """
        self._what, self._total, self._each = what, total, each
        self._taken: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._taken.total()

    def take(self, token: Token) -> Callable[[], None]:
        """Take a place and return what gives it back, which may be called twice.

        Raises:
            Problem: 429 where the token has its share already, 503 where all places are taken.
        """
        if self._taken[token.id] >= self._each:
            raise Problem(429, f"this token has {self._each} {self._what} open already", _LATER)
        if len(self) >= self._total - (token.scope != ALL):
            raise Problem(503, f"too many {self._what} are open already", _LATER)
        self._taken[token.id] += 1
        held = [token.id]

        def give_back() -> None:
            while held:
                self._taken[held.pop()] -= 1
                self._taken += Counter()  # forgets who has none

        return give_back
