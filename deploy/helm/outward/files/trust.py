"""Writes the system's roots and the proxy's CA to one file, for tools whose variable replaces the roots."""

import ssl
import sys
from pathlib import Path


def main(certificate: str, bundle: str) -> None:
    """Join the two."""
    system = ssl.get_default_verify_paths().cafile
    if system is None:
        sys.exit("this image has no system roots")
    Path(bundle).write_bytes(Path(system).read_bytes() + b"\n" + Path(certificate).read_bytes())


if __name__ == "__main__":
    main(*sys.argv[1:3])
