"""`outward learn`: a command in report mode, and then the policy that it needs."""

from pathlib import Path

import click

from outward.cli.options import config_option, localhost_option
from outward.cli.run import run


@click.command(context_settings={"allow_interspersed_args": False})
@config_option
@click.option("--group", "-g", help="Group that the command belongs to; default: the one for anyone, or the only one.")
@click.option("--write", type=click.Path(dir_okay=False, path_type=Path), help="The policy file, if not that in force.")
@click.option("--include", multiple=True, metavar="HOST", help="Write this host although it would be left out.")
@click.option("--no-token", is_flag=True, help="Let every local process in, and name no token.")
@click.option("--jail", "jailed", is_flag=True, help="Leave the command no other way out than the proxy (Linux).")
@localhost_option
@click.option("--hide", multiple=True, metavar="VARIABLE", help="Give the command a placeholder for a secret.")
@click.option("--no-parent", is_flag=True, help="Go past the proxy that HTTPS_PROXY names.")
@click.option("--json", "as_json", is_flag=True, help="Write what was learnt, and what could not be reached, as JSON.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def learn(context: click.Context, /, **options: object) -> None:
    """Run COMMAND, let through what the rules block, and write the policy that it needs.

    Entries name exact hosts, and methods and paths where they were seen. Without a configuration a new file is written
    that allows nothing else. Run again, it adds what is still missing; `outward run` then enforces it.
    """
    context.invoke(run, **options, report=True, learning=True)
