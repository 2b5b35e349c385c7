"""What keeping records takes: the state directory, the database, and what is shown of both."""

from collections.abc import Callable
from pathlib import Path

from outward.builders.errors import StartError, reason
from outward.config.settings import Settings
from outward.ops.metrics import Metrics
from outward.records.database import Database, StoreAwayError, driver_of, migrate, open_database
from outward.records.events.recorder import Recorder
from outward.records.events.values import Event


class Observed:
    """A recorder that shows each event to somebody else first."""

    def __init__(self, recorder: Recorder, observe: Callable[[Event], None]) -> None:
        self._recorder = recorder
        self._observe = observe

    def settle(self, event: Event) -> None:
        """Give a denial the id of the row that counts it."""
        self._recorder.settle(event)

    def withdraw(self, event: Event) -> bool:
        """See `Recorder`."""
        return self._recorder.withdraw(event)

    def record(self, event: Event) -> None:
        """Show and record one event."""
        self._recorder.settle(event)  # who watches is shown the id of the row
        self._observe(event)
        self._recorder.record(event)


def prepare_records(url: str, state: Path) -> None:
    """Make the state directory, and try that it takes a file, and that the records' database has its driver.

    A database that is away may come back, and is waited for; a driver that is not installed does not.

    Raises:
        StartError: one of them does not.
    """
    try:
        driver_of(url)
    except StoreAwayError as error:
        raise StartError(str(error)) from error
    cure = "set `server.state`, or OUTWARD_STATE, to a folder that this user may write"
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = state / ".writable"
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise StartError(f"the state directory {state} cannot be written: {reason(error)}; {cure}") from error
    from outward.records.audit.chain import begin  # noqa: PLC0415 - loads cryptography

    begin(url, state)


def connecting(settings: Settings) -> Callable[[], Database]:
    """Return what opens the records' database, its schema up to date."""

    def connect() -> Database:
        database = open_database(settings.records_url, settings.state)
        migrate(database)
        return database

    return connect


def watch_limits(metrics: Metrics, recorder: Recorder, settings: Settings) -> None:
    """Show how much of each limit is used: connections, and what waits to be recorded, in memory and on disk."""
    metrics.set("connections_limit", settings.limits.connections)
    metrics.set("records_spilled_limit_bytes", settings.spill_bytes)
    metrics.set("record_queue_limit", recorder.capacity)
    metrics.watch("record_queue_length", lambda: len(recorder))
    metrics.watch("record_store_up", lambda: float(recorder.away is None))
    metrics.watch("records_spilled_bytes", lambda: recorder.spilled)
