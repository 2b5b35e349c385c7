"""`outward health`: asks the ops port whether the proxy is ready. For container health checks, which have no curl."""

import http.client
import json
from pathlib import Path

import click

from outward.cli.options import config_option
from outward.config.values import endpoint

_TIMEOUT = 3  # seconds


def _endpoint(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[str, int] | None:
    try:
        return None if value is None else endpoint(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@config_option
@click.option(
    "--ops",
    callback=_endpoint,
    envvar="OUTWARD_OPS",
    metavar="ADDRESS:PORT",
    help="Ask here, and read no configuration.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the status and the readiness detail.")
def health(config: Path | None, ops: tuple[str, int] | None, *, as_json: bool) -> None:
    """Ask the running proxy's ops port whether it is ready; exit 0 if so, else 1."""
    host, port = ops or _configured(config, as_json=as_json)
    status, detail = _ask(reachable(host), port)
    click.echo(json.dumps({"status": status, "detail": detail}) if as_json else detail)
    if status != 200:
        raise SystemExit(1)


def _configured(config: Path | None, *, as_json: bool) -> tuple[str, int]:
    """Return the ops port of the configuration.

    A proxy goes on with its last good settings while its file cannot be read, and a health check that fails for that
    would get it killed: the default port is asked then.
    """
    from outward.cli.common import find_config, load_configuration, refuse  # noqa: PLC0415 - a third of a second
    from outward.config.settings import Settings  # noqa: PLC0415 - as above

    choice = find_config(config)
    if choice.base is None:
        return Settings().ops
    loaded = load_configuration(choice)
    if loaded.settings is not None:
        return loaded.settings.ops
    if not choice.base.is_file():
        refuse(loaded, as_json=as_json)
    host, port = Settings().ops
    click.echo(f"outward: warning: asking {host}:{port}, the default: `outward check {choice.base}` says why", err=True)
    return host, port


def _ask(host: str, port: int) -> tuple[int | None, str]:
    plain = http.client.HTTPConnection(host, port, timeout=_TIMEOUT)
    try:
        return _readiness(plain)
    except http.client.HTTPException:
        return _ask_by_tls(host, port)  # what speaks TLS answers with no HTTP
    except ConnectionResetError:
        return _ask_by_tls(host, port)
    except OSError as error:
        return None, f"no answer from {host}:{port}: {error.strerror or error}"


def _ask_by_tls(host: str, port: int) -> tuple[int | None, str]:
    """Ask where `admin.tls` is set. What is asked and told is no secret, so nobody's name is verified."""
    import ssl  # noqa: PLC0415 - few need it

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        return _readiness(http.client.HTTPSConnection(host, port, timeout=_TIMEOUT, context=context))
    except (OSError, http.client.HTTPException) as error:
        return None, f"no answer from {host}:{port}: {getattr(error, 'strerror', None) or error}"


def _readiness(connection: http.client.HTTPConnection) -> tuple[int, str]:
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        return response.status, response.read(65536).decode("utf-8", "replace").strip()
    finally:
        connection.close()


def reachable(host: str) -> str:
    """Return an address, or name, at which this machine reaches what listens on `host`: loopback for all addresses."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
