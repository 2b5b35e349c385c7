"""What all inspected exchanges together may hold back in memory, so that many clients cannot do what one may not.

Owns the sum. Bodies that are read as a whole, requests and responses, are charged to their exchange and given back when
it closes.
"""

HELD = 256 << 20  # bytes


class Budget:
    """A number of bytes that is lent out; belongs to the event loop's thread.

    Attributes:
        left: bytes that can still be lent.
    """

    __slots__ = ("left",)

    def __init__(self, limit: int = HELD) -> None:
        self.left = limit

    def take(self, count: int) -> bool:
        """Lend bytes; False, and nothing lent, where there are not enough."""
        if count > self.left:
            return False
        self.left -= count
        return True

    def give(self, count: int) -> None:
        """Take bytes back."""
        self.left += count


def too_long(limit: int) -> str:
    """Return what a body that is read as a whole may have at most, and the key that says so."""
    most = f"{limit >> 20} MiB" if limit >= 1 << 20 else f"{limit} bytes"
    return f"A request to a model vendor is read as a whole, up to {most} (`server.limits.body_inspect_bytes`)."
