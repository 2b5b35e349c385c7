"""What several files of tests ask for: a running administrator's side with its client, and a sink of audit events."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from harness.admin import Admin, admin
from harness.sink import Sink


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
