"""What a vendor's own answers teach about its limits: names that it refuses, and lists that it finds too long.

Belongs to one scope, so to one policy and group, and to one host: what one group sends costs no other group anything,
and another policy begins anew. Bounded. Only ever narrows what is sent.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Collection, Sequence

_MOST_NAMES = 4096
_MOST_LISTS = 256
_FEWEST = 10  # entries; a search that is too large even so is not so because of its list


class Recent:
    """A bounded set that forgets what was added first."""

    def __init__(self, most: int = _MOST_NAMES) -> None:
        self._most = most
        self._known: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, item: object) -> bool:
        return item in self._known

    def update(self, items: Collection[str]) -> None:
        """Add items; the oldest go where there are too many."""
        for item in items:
            self._known[item] = None
            self._known.move_to_end(item)
        while len(self._known) > self._most:
            self._known.popitem(last=False)


class Learned:
    """What one host's answers have taught.

    Attributes:
        refused: names that it does not search.
    """

    def __init__(self) -> None:
        self.refused = Recent()
        self._most: OrderedDict[bytes, int] = OrderedDict()

    def most(self, asked: Sequence[str] | None) -> int | None:
        """Return how many entries a caller's list may become; None if the vendor has not found it too long."""
        return self._most.get(_key(asked))

    def too_long(self, asked: Sequence[str] | None, sent: int) -> None:
        """Halve what a caller's list becomes from now on, down to a floor.

        Args:
            asked: the caller's list; None if it named none.
            sent: how many entries the vendor has found to be too many.
        """
        if sent <= _FEWEST:
            return
        key = _key(asked)
        self._most[key] = min(self._most.get(key, sent), max(_FEWEST, sent // 2))
        self._most.move_to_end(key)
        if len(self._most) > _MOST_LISTS:
            self._most.popitem(last=False)


def _key(asked: Sequence[str] | None) -> bytes:
    return b"" if asked is None else hashlib.sha256("\n".join(asked).encode("utf-8", "surrogatepass")).digest()
