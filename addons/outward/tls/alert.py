"""TLS alerts: the one word that a TLS client can be told in the clear (RFC 8446 6)."""

from enum import IntEnum

from outward.core.reasons import MEANINGS, Reason


class Alert(IntEnum):
    """A fatal alert, by its description."""

    ACCESS_DENIED = 49
    DECODE_ERROR = 50
    INTERNAL_ERROR = 80
    MISSING_EXTENSION = 109
    UNRECOGNIZED_NAME = 112
    NO_APPLICATION_PROTOCOL = 120

    @property
    def wire(self) -> bytes:
        """The record that says it."""
        return b"\x15\x03\x03\x00\x02\x02%c" % self


def alert_of(reason: Reason) -> Alert:
    """Return the alert for a reason, where nothing more is known of what went wrong."""
    status = MEANINGS[reason].status or 0
    if status >= 500:
        return Alert.INTERNAL_ERROR
    return Alert.DECODE_ERROR if status in (400, 413) else Alert.ACCESS_DENIED
