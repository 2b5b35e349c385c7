"""`outward version`: prints the version; imports nothing slow."""

import json

import click

from outward import __version__


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the versions of Python and its OpenSSL.")
def version(*, as_json: bool) -> None:
    """Print the version."""
    if not as_json:
        click.echo(f"outward {__version__}")
        return
    import platform  # noqa: PLC0415 - only the long form pays for it
    import ssl  # noqa: PLC0415 - the same

    facts = {"outward": __version__, "openssl": ssl.OPENSSL_VERSION, "python": platform.python_version()}
    click.echo(json.dumps(facts))
