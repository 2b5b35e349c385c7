"""The audit stream of a running proxy: it survives a kill, and does not start without its secret."""

from collections.abc import Callable
from pathlib import Path

from harness.fleet import TOKEN, call
from harness.process import Served, outward
from harness.sink import Sink
from harness.waiting import PATIENCE, wait_for
from outward.records.database import open_database

CONFIG = """
version: 1
server: {{listen: "127.0.0.1:0", ops: "127.0.0.1:0", state: "{state}"}}
records: {{url: "{url}", audit_stream: {{url: "{sink}", token_env: STREAM_TOKEN, batch: 5}}}}
groups: {{acme: {{web_search: {{enabled: false}}}}}}
clients: [{{group: acme, anyone: true}}]
"""


def toggle(served: Served, times: int, enabled: Callable[[int], bool] = lambda number: number % 2 == 0) -> None:
    for number in range(times):
        body = {"enabled": enabled(number)}
        assert call(served, "PUT", "/api/v1/groups/acme/web-search", body) == 200


def kept(url: str, folder: Path) -> list[str]:
    database = open_database(url, folder)
    try:
        return [row[0] for row in database.execute("SELECT id FROM audit_events ORDER BY seq")]
    finally:
        database.close()


def test_a_killed_proxy_goes_on_where_it_was(tmp_path: Path, sink: Sink) -> None:
    """What happened while the destination was away arrives after a kill and a restart, and the metrics tell."""
    config = tmp_path / "outward.yaml"
    config.write_text(CONFIG.format(state=tmp_path / "state", url="sqlite", sink=sink.url))
    served = Served(config, OUTWARD_ADMIN_TOKEN=TOKEN, STREAM_TOKEN="s3cret")
    toggle(served, 6)
    wait_for(lambda: len(sink.ids) == 6)
    sink.stop()
    toggle(served, 8)
    wait_for(lambda: "outward_audit_stream_pending 8.0" in served.get("/metrics")[1])
    wait_for(lambda: 'outward_audit_stream_failures_total{reason="connection"}' in served.get("/metrics")[1])
    served.process.kill()
    served.process.wait(PATIENCE)
    sink.start()
    again = Served(config, OUTWARD_ADMIN_TOKEN=TOKEN, STREAM_TOKEN="s3cret")
    wait_for(lambda: len(sink.ids) == 14)
    toggle(again, 1)
    again.process.terminate()  # what was recorded last is delivered before the end
    again.process.wait(PATIENCE)
    assert sink.ids == kept("sqlite", tmp_path / "state")
    assert len(sink.ids) == 15
    assert {headers["x-gitlab-event-streaming-token"] for headers, _ in sink.requests} == {"s3cret"}


def test_a_proxy_does_not_start_without_the_secret(tmp_path: Path, sink: Sink) -> None:
    config = tmp_path / "outward.yaml"
    config.write_text(CONFIG.format(state=tmp_path / "state", url="sqlite", sink=sink.url))
    done = outward("serve", "--config", config)
    assert done.returncode == 1
    assert "token of `records.audit_stream`" in done.stderr
    assert "Traceback" not in done.stderr
