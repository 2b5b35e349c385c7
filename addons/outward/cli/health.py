"""`outward health`: asks the ops port whether the proxy is ready. For container health checks, which have no curl."""

import http.client
import json
from ipaddress import ip_address
from pathlib import Path

import click

from outward.cli.common import config_option, settings_of

_TIMEOUT = 3  # seconds


@click.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the status and the readiness detail.")
def health(config: Path | None, *, as_json: bool) -> None:
    """Ask the running proxy's ops port whether it is ready; exit 0 if so, else 1."""
    settings = settings_of(config, as_json=as_json)
    host, port = settings.ops
    status, detail = _ask(reachable(host), port)
    click.echo(json.dumps({"status": status, "detail": detail}) if as_json else detail)
    if status != 200:
        raise SystemExit(1)


def _ask(host: str, port: int) -> tuple[int | None, str]:
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        return response.status, response.read(65536).decode("utf-8", "replace").strip()
    except OSError as error:
        return None, f"no answer from {host}:{port}: {error}"
    finally:
        connection.close()


def reachable(host: str) -> str:
    """Return an address at which this machine reaches what listens on `host`: loopback where that is unspecified."""
    address = ip_address(host)
    if not address.is_unspecified:
        return host
    return "::1" if address.version == 6 else "127.0.0.1"
