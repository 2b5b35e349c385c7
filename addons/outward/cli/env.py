"""`outward env`: prints the variables that send a shell's commands through a running proxy."""

import json
import os
import shlex
from pathlib import Path

import click

from outward.cli.authority import authority_of
from outward.cli.common import find_config, load_configuration, load_for_operator
from outward.cli.environment import ProxyAddress, client_environment, has_java
from outward.cli.health import reachable
from outward.cli.options import config_option
from outward.cli.tool_files import write_tool_files
from outward.cli.trusted import trusted_before
from outward.cli.trusting import demand_trust


@click.command()
@config_option
@click.option("--token", envvar="OUTWARD_TOKEN", help="The client's token, if the policy asks for one.")
@click.option("--conversation", default="", help="Name of the conversation that the traffic belongs to.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
def env(config: Path | None, token: str | None, conversation: str, *, as_json: bool) -> None:
    r"""Print proxy and CA variables, for: eval "$(outward env)"."""
    from outward.proxy.trust import bundle_for_tools, java_truststore  # noqa: PLC0415 - cryptography is slow to import

    choice = find_config(config)
    if choice.found is not None:
        demand_trust(load_configuration(choice), ask=False)
    settings, _ = load_for_operator(choice, as_json=as_json)
    host, port = settings.listen
    proxy = ProxyAddress(reachable(host), port, conversation, token or "")
    bundle = bundle_for_tools(authority_of(settings).pem, os.environ, trusted_before(os.environ))
    truststore = java_truststore(bundle) if has_java(os.environ) else None
    variables = client_environment(proxy, bundle, os.environ, truststore) | write_tool_files(bundle, os.environ)
    if as_json:
        click.echo(json.dumps(variables, indent=2))
    else:
        for name, value in variables.items():
            click.echo(f"export {name}={shlex.quote(value)}")
