"""The dashboards, asked of a real Prometheus that scrapes two real proxies: every panel shows something, once."""

import http.client
import json
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from urllib.request import urlopen

import pytest

from harness.manifests import DEPLOY, ROOT
from harness.ports import free_port
from harness.process import Served
from harness.waiting import PATIENCE, wait_for
from harness.web import Web

pytestmark = pytest.mark.skipif(not shutil.which("prometheus"), reason="prometheus is not installed")

DASHBOARDS = sorted((DEPLOY / "grafana").glob("*.json"))
POLICY = """
version: 1
server: {{listen: "127.0.0.1:0", ops: "127.0.0.1:0", state: "{state}"}}
upstream: {{trust: ["{ca}"], internal: [127.0.0.1/32], dns: {{hosts: {{origin.test: [127.0.0.1], other.test: [127.0.0.1]}}}}}}
vendors: {{other.test: {{adapter: openai}}}}
groups:
  dev: {{lane: inspect, allow: [{{host: origin.test, ports: [{port}]}}, {{host: other.test, ports: [{port}]}}]}}
clients: [{{group: dev, anyone: true}}]
"""


def test_the_dashboards_are_written_from_their_table() -> None:
    """Who edits one by hand loses it."""
    found = {path.name: path.read_text() for path in DASHBOARDS}
    script = f"import json, runpy; print(json.dumps(runpy.run_path({str(ROOT / 'scripts/dashboards')!r})['written']()))"
    made = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(made.stdout) == found


class Prometheus:
    """A Prometheus of the test's own."""

    def __init__(self, folder: Path, targets: list[str]) -> None:
        config = {
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "1s"},
            "rule_files": [str(DEPLOY / "prometheus/rules.yaml")],
            "scrape_configs": [{"job_name": "outward", "static_configs": [{"targets": targets, "labels": {"namespace": "n"}}]}],
        }  # fmt: skip
        (folder / "prometheus.yml").write_text(json.dumps(config))
        self._at = f"127.0.0.1:{free_port()}"
        words = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb"]
        self._log = (folder / "prometheus.log").open("w")
        self._process = subprocess.Popen(
            [*words, f"--web.listen-address={self._at}"], stdout=self._log, stderr=self._log
        )

    def ask(self, query: str) -> list[dict[str, Any]]:
        """Return what a query finds now."""
        try:
            with urlopen(f"http://{self._at}/api/v1/query?query={quote(query)}", timeout=PATIENCE) as answer:
                found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        except OSError:  # it has not started yet
            return []
        return found

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(PATIENCE)
        self._log.close()


def inspected(served: Served, trusted: str, url: str) -> int:
    """Ask for a page through a proxy and return the status."""
    parts = urlsplit(url)
    client = http.client.HTTPSConnection(
        *served.proxy, timeout=PATIENCE, context=ssl.create_default_context(cadata=trusted)
    )
    client.set_tunnel(parts.hostname or "", parts.port)
    try:
        client.request("GET", parts.path)
        return client.getresponse().status
    except OSError:  # the tunnel was refused
        return 403
    finally:
        client.close()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Two proxies that carry, refuse and search all the time until both are scraped often enough for a rate."""
    folder = tmp_path_factory.mktemp("monitored")
    web = Web(folder)
    (web.root / "v1").mkdir()
    (web.root / "v1/models").write_text("{}")
    proxies: list[Served] = []
    for name in "ab":
        (folder / f"{name}.yaml").write_text(POLICY.format(state=folder / name, ca=web.ca, port=web.port))
        proxies.append(Served(folder / f"{name}.yaml"))
    monitor = Prometheus(folder, [f"{each.ops[0]}:{each.ops[1]}" for each in proxies])
    try:

        def often_enough() -> bool:
            for each, name in zip(proxies, "ab", strict=True):
                trusted = (folder / name / "ca.pem").read_text()
                assert inspected(each, trusted, f"{web.url}/") == 200
                assert inspected(each, trusted, f"https://other.test:{web.port}/v1/models") == 200
                assert inspected(each, trusted, "https://denied.example/") == 403
            found = monitor.ask("min(count_over_time(outward_vendor_responses_total[1m])) > 4")
            return bool(found) and len(monitor.ask("outward_build_info")) == 2

        wait_for(often_enough)
        yield monitor
    finally:
        monitor.close()
        for each in proxies:
            each.end()
        web.close()


PANELS = [
    pytest.param(
        path.stem, panel["title"], target["expr"], id=f"{path.stem}: {panel['title']} {target['legendFormat']}"
    )
    for path in DASHBOARDS
    for panel in json.loads(path.read_text())["panels"]
    for target in panel["targets"]
]
# Where there is nothing to be counted: no destination failed, no search ran, and nothing went wrong.
EMPTY = {"Upstream failures", "Internal errors", "Searches by what became of them"}


def test_every_panel_shows_something(prometheus: Prometheus) -> None:
    """A query that finds nothing in real data is a mistake, and so is a query that Prometheus does not take."""
    bare = []
    for dashboard, title, query in (each.values for each in PANELS):
        for variable, value in (("$namespace", ".*"), ("$group", ".*"), ("$__rate_interval", "1m")):
            query = str(query).replace(variable, value)  # noqa: PLW2901 - as Grafana does
        if title not in EMPTY and not any(each["value"][1] != "NaN" for each in prometheus.ask(query)):
            bare.append(f"{dashboard}: {title}: {query}")
    assert not bare


def test_what_is_the_same_on_each_proxy_is_not_added_up(prometheus: Prometheus) -> None:
    """Two proxies with two rules have two rules."""
    (query,) = (each.values[2] for each in PANELS if each.values[:2] == ("outward-group", "Rules"))
    asked = str(query).replace("$namespace", ".*").replace("$group", "dev")
    (found,) = prometheus.ask(asked)
    assert found["value"][1] == "2"


def _known(prometheus: Prometheus, name: str) -> bool:
    found = prometheus.ask(name)
    return bool(found) and found[0]["value"][1] != "NaN"


def test_rules_are_taken_and_nobody_is_woken(prometheus: Prometheus) -> None:
    """The recording rules make their series, and a healthy pair of proxies fires no alert."""
    for name in (
        "outward:failed:ratio_rate5m",
        "outward:vendor:unavailable_ratio_rate10m",
        "outward:accept:p99_rate5m",
    ):
        wait_for(partial(_known, prometheus, name))
    assert prometheus.ask('ALERTS{alertstate="firing"}') == []
