"""What several files of tests ask for: a running administrator's side, and its client."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from harness.admin import Admin, admin


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Admin]:
    with admin(tmp_path) as found:
        yield found


@pytest.fixture
def client(running: Admin) -> Iterator[httpx.Client]:
    with running.client() as found:
        yield found
