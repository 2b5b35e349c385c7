"""`outward request`: ask, through the proxy, to be allowed what was blocked. A person decides; nothing waits for it."""

import json
import os
import ssl
import sys
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any

import click

from outward.cli.through import NoWayError, Way, way_of

_ROOT = "http://outward.internal"  # answered by the proxy itself, and by nobody else
_TIMEOUT = 15.0  # seconds
_MOST = 65_536  # bytes of an answer
DENIED = 4  # exit code


@click.command()
@click.argument("url")
@click.option("--why", required=True, help="What it is needed for, for the person who decides.")
@click.option("--method", "-X", help="HTTP method, where one is missing; default: GET.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def request(url: str, *, why: str, method: str | None, as_json: bool) -> None:
    """Ask to be allowed URL, through the proxy that HTTPS_PROXY names and as the client that it knows.

    Prints the request's id and what happens next, and does not wait. The query of URL is not sent. Exits with 4 where
    this cannot be asked for.
    """
    body = {"url": url.partition("?")[0].partition("#")[0], "why": why} | ({"method": method} if method else {})
    try:
        status, found = _post(way_of(os.environ), body)
    except NoWayError as error:
        raise click.ClickException(str(error)) from error
    if status not in (200, 201):
        click.echo(json.dumps(found, indent=2) if as_json else f"Error: {found.get('detail', status)}", err=not as_json)
        sys.exit(DENIED if status in (403, 409) else 1)
    click.echo(json.dumps(found, indent=2) if as_json else _told(found))


def _post(way: Way, body: dict[str, str]) -> tuple[int, dict[str, Any]]:
    """Send the request, and return the status and the answer.

    Raises:
        NoWayError: the proxy does not answer, or not as this one does.
    """
    kind = HTTPConnection(way.host, way.port, timeout=_TIMEOUT)
    if way.secure:
        kind = HTTPSConnection(way.host, way.port, timeout=_TIMEOUT, context=ssl.create_default_context())
    fields = {"Host": "outward.internal", "Content-Type": "application/json", "Accept": "application/json"}
    try:
        kind.request(
            "POST",
            f"{_ROOT}/requests",
            json.dumps(body),
            fields | ({"Proxy-Authorization": way.authorization} if way.authorization else {}),
        )
        reply = kind.getresponse()
        found = json.loads(reply.read(_MOST))
    except (OSError, HTTPException) as error:
        raise NoWayError(f"the proxy at {way.host}:{way.port} does not answer: {error}") from error
    except ValueError as error:
        raise NoWayError(f"the proxy at {way.host}:{way.port} is not Outward, or an older one") from error
    finally:
        kind.close()
    return reply.status, found if isinstance(found, dict) else {}


def _told(found: dict[str, Any]) -> str:
    what = " ".join(str(found[name]) for name in ("method", "path") if found.get(name))
    target = f"{found['host']} port {found['port']}{f', {what}' if what else ''}"
    lines = [f"request {found['id']}: {found['state']}, for {target}", f"  {found['next']}"]
    if found.get("note"):
        lines.append(f"  note    {found['note']}")
    lines += [f"  look    {found['url']}", f"  line    {found['suggestion']}"]
    return "\n".join(lines)
