"""Whether this system makes jails: a mark for the tests that need one."""

import pytest

from outward.cli.jail import Jail, JailError


def _refusal() -> str | None:
    """Return why the kernel does not let us make namespaces, if it does not."""
    try:
        with Jail():
            return None
    except JailError as error:
        return str(error)


_REFUSED = _refusal()
needs_jail = pytest.mark.skipif(_REFUSED is not None, reason=f"no jail here: {_REFUSED}")
