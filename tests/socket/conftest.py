"""What several files of tests ask for: a running administrator's side with its client, and a sink of audit events."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from harness import watched
from harness.admin import Admin, admin
from harness.postgres import Server, postgres
from harness.sink import Sink

watched.begin()


@pytest.fixture(autouse=True)
def no_callback_holds_a_loop_up() -> Iterator[None]:
    """Fail the test during which a callback took too long, where loops are watched."""
    before = len(watched.stalls())
    yield
    found = watched.stalls()[before:]
    assert not found, "\n".join(found)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """One PostgreSQL for all tests of a process; tests ask for `server`."""
    with postgres() as running:
        yield running


@pytest.fixture
def server(postgres_server: Server) -> Server:
    """A PostgreSQL server with nothing in it."""
    postgres_server.empty()
    return postgres_server


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """Each kind of store in its turn, with nothing in it."""
    return "sqlite" if request.param == "sqlite" else request.getfixturevalue("server").url


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Admin]:
    with admin(tmp_path) as found:
        yield found


@pytest.fixture
def client(running: Admin) -> Iterator[httpx.Client]:
    with running.client() as found:
        yield found


@pytest.fixture
def sink() -> Iterator[Sink]:
    made = Sink()
    yield made
    made.release.set()
    made.stop()
