"""The CA, for verbs that print it or point programs at it. Says what is wrong with it instead of failing inside."""

from typing import TYPE_CHECKING

import click

from outward.config.settings import Settings

if TYPE_CHECKING:
    from outward.proxy.ca import Authority


def authority_of(settings: Settings) -> "Authority":
    """Return the CA, made on first use; ends the verb with what is wrong where it cannot be used."""
    from outward.proxy.ca import Authority, AuthorityError  # noqa: PLC0415 - cryptography is slow to import

    try:
        return Authority(settings.state, settings.ca)
    except AuthorityError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        cure = "set `server.state`, or OUTWARD_STATE, to a folder that this user may write"
        raise click.ClickException(f"no CA can be kept in {settings.state}: {error.strerror}; {cure}") from error
