"""How the Python that measures was built: figures of two builds cannot be compared."""

import platform
import sysconfig


def described() -> str:
    """Return its version and whether it was built with optimisations, which make 12 to 28 % of the time."""
    flags = " ".join(str(sysconfig.get_config_var(name)) for name in ("CONFIG_ARGS", "CFLAGS", "PY_CFLAGS"))
    # Debian's and Fedora's are, by other means than the option; both look for wheels there.
    fast = any(sign in flags for sign in ("--enable-optimizations", "-fprofile-use", "/usr/share/python-wheels"))
    lto = ", LTO" if "--with-lto" in flags else ""
    name = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{name}, built {f'with optimisations{lto}' if fast else 'without optimisations'}"
