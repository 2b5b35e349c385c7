"""Where Outward's own programs lie, which run outside a jail. Its other folders are in `config.places`."""

import sys
from collections.abc import Mapping
from pathlib import Path

import outward


def own_programs(environ: Mapping[str, str]) -> list[Path]:
    """Return the folders of Outward's own programs, which run outside a jail: now, and the next time.

    A virtual environment that the user works in is not among them.
    """
    ours = sys.prefix != sys.base_prefix and environ.get("VIRTUAL_ENV") != sys.prefix
    return [Path(outward.__file__).parent, *([Path(sys.prefix)] if ours else [])]
