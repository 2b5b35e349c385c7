"""`outward schema`: the JSON Schema of the configuration, for editors."""

import json

import click


@click.command()
@click.option("--json", is_flag=True, expose_value=False, help="The same; a schema is JSON always.")
def schema() -> None:
    """Print the JSON Schema of the configuration file."""
    from outward.config.schema import json_schema  # noqa: PLC0415 - the schema takes a while to import

    click.echo(json.dumps(json_schema(), indent=2))
