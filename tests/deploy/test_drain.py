"""An upgrade: the old process drains, and no stream that was open is cut."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.process import Served
from harness.sse import Sse, Stream, streaming
from harness.waiting import PATIENCE, wait_for

STREAMS = 24


@pytest.fixture
def origin() -> Iterator[int]:
    """Run the origin and return its port."""
    with streaming() as port:
        yield port


def configuration(folder: Path, port: int, database: Path) -> Path:
    """Write a configuration; two processes share a database and have everything else to themselves."""
    folder.mkdir(exist_ok=True)
    path = folder / "outward.yaml"
    path.write_text(
        f"version: 1\nserver: {{listen: '127.0.0.1:0', ops: '127.0.0.1:0', state: '{database}', grace: 30s}}\n"
        "upstream: {internal: [127.0.0.1/32], dns: {hosts: {origin.test: [127.0.0.1]}}}\n"
        f"groups: {{dev: {{allow: [{{host: origin.test, ports: [{port}], tls: false}}]}}}}\n"
        "clients: [{group: dev, anyone: true}]\n"
    )
    return path


@pytest.mark.slow
def test_no_open_stream_is_cut_by_an_upgrade(tmp_path: Path, origin: int) -> None:
    """The new process takes new connections while the old one finishes its streams, and both write to one store."""
    old = Served(configuration(tmp_path / "old", origin, tmp_path / "state"))
    new = None
    try:
        streams = [Stream(old.proxy, origin, tunnel=bool(number % 2)) for number in range(STREAMS)]
        wait_for(lambda: all(b"data: 0" in each.got for each in streams))
        new = Served(configuration(tmp_path / "new", origin, tmp_path / "state"))
        began = time.monotonic()
        old.signal(signal.SIGTERM)
        wait_for(lambda: "draining" in old.log)
        later = Stream(new.proxy, origin, tunnel=True)
        Sse.go_on.set()
        assert old.wait() == 0
        seconds = time.monotonic() - began
        for each in (*streams, later):
            each.join(PATIENCE)
        cut = sum(not each.whole for each in streams)
        print(f"streams in flight {STREAMS}, cut {cut}, drained in {seconds:.1f} s")
        assert cut == 0
        assert later.whole
        new.signal(signal.SIGTERM)
        assert new.wait() == 0
        assert len(old.events) == STREAMS
        assert len(new.events) == 1
    finally:
        for each in filter(None, (old, new)):
            each.end()
