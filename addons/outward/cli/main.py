"""The `outward` command: a group whose verbs are imported only when they are called.

Owns the list of verbs and nothing else; one file per verb does the work. Exit codes: 0 ok, 1 failure, 2 usage,
3 invalid configuration, 4 denied (`explain`) or failed (`test`).
"""

import gc
import importlib
import os
import sys
from typing import Any

import click

from outward import __version__

# Verb: (module, one line for `--help`). The line stands here so that help imports no verb.
VERBS = {
    "run": ("outward.cli.run", "Run a command behind a private proxy and sum up what was blocked."),
    "learn": ("outward.cli.learn", "Run a command, and write the policy that it needs."),
    "serve": ("outward.cli.serve", "Run the proxy."),
    "demo": ("outward.cli.demo", "Show the whole story on this machine: a chat, stub vendors, a real proxy."),
    "check": ("outward.cli.check", "Check a configuration file: every error and smell at once."),
    "explain": ("outward.cli.explain", "Show how a URL is decided for a group, step by step."),
    "test": ("outward.cli.test", "Hold the policy against the tests that its authors wrote."),
    "replay": ("outward.cli.replay", "Show what a policy would do to recorded traffic."),
    "suggest": ("outward.cli.suggest", "Propose the smallest change that would have allowed what was blocked."),
    "blocked": ("outward.cli.blocked", "List what was blocked."),
    "request": ("outward.cli.request", "Ask, through the proxy, to be allowed what was blocked."),
    "requests": ("outward.cli.requests", "List access requests, approve and deny them; revoke grants."),
    "trust": ("outward.cli.trust", "Trust the policy that a working tree brings, as it is now."),
    "audit": ("outward.cli.audit", "List, export and verify audit events."),
    "secrets": ("outward.cli.secrets", "List secrets, and who used which; never a value."),
    "web-search": ("outward.cli.web_search", "Show and set whether groups may search the web."),
    "conversation": ("outward.cli.conversation", "Opt conversations in to web search; show their receipts."),
    "records": ("outward.cli.records", "Keep the events of a PostgreSQL store by day, or in one table."),
    "token": ("outward.cli.token", "Make, list and revoke tokens of the admin API."),
    "env": ("outward.cli.env", "Print the proxy and CA variables for a shell."),
    "connect": ("outward.cli.connect", "Connect to a host and port through the proxy, for what speaks no HTTP."),
    "ca": ("outward.cli.ca", "Print the proxy's CA certificate."),
    "schema": ("outward.cli.schema", "Print the JSON Schema of the configuration."),
    "health": ("outward.cli.health", "Ask a running proxy whether it is ready."),
    "version": ("outward.cli.version", "Print the version."),
}


class Verbs(click.Group):
    """A group that knows its verbs by name and imports the one that is called."""

    def list_commands(self, _context: click.Context) -> list[str]:
        """Name the verbs, in the order in which a newcomer needs them."""
        return list(VERBS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        """Import a verb's module and return its command; None for an unknown verb."""
        if name not in VERBS:
            return None
        # Imports make no garbage, and what they make lives as long as the process: the collector need not look for any,
        # which is a tenth of a start, nor at what they made ever after.
        gc.disable()
        try:
            command: click.Command = getattr(importlib.import_module(VERBS[name][0]), name.replace("-", "_"))
        finally:
            gc.freeze()
            gc.enable()
        return command

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb that the arguments start with; a misspelt one is answered with the nearest."""
        if args[0] not in VERBS:
            import difflib  # noqa: PLC0415 - only where a verb is misspelt

            near = difflib.get_close_matches(args[0], VERBS, 1)
            if near:
                context.fail(f"No such command '{args[0]}'. Did you mean '{near[0]}'?")
        return super().resolve_command(context, args)

    def main(self, *arguments: Any, **options: Any) -> Any:
        """Run, and end without a traceback where the output goes nowhere: a closed pipe quietly, a full disk said."""
        try:
            try:
                return super().main(*arguments, **options)
            finally:
                sys.stdout.flush()  # what the interpreter would do at its end, where nobody can catch it
        except BrokenPipeError:
            _silence()
        except OSError as error:
            click.echo(f"Error: {error.filename or 'the output'}: {error.strerror or error}", err=True)
            _silence()
        sys.exit(1)

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of verbs from the table."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, line) for name, (_, line) in VERBS.items()])


def _silence() -> None:
    """Send what is still buffered nowhere, so that the interpreter does not stumble over it."""
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device, for its descriptor
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="outward %(version)s")
def main() -> None:
    """Outward: a forward egress proxy for AI agents. One allowlist for connections and for hosted web searches."""
