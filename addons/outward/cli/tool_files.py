"""Small files of settings, for tools that are told of roots by no variable: apt, wget and PHP.

Owns their contents and the variables that name them. A tool gets one only if it is there, and the caller has none of
its own: nothing of the caller's is lost.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from outward.files import replace_file


def tool_files(bundle: Path) -> Path:
    """Return the folder of these files for a bundle of roots."""
    return bundle.with_suffix(".d")


def write_tool_files(bundle: Path, base: Mapping[str, str]) -> dict[str, str]:
    """Write the files that the tools here need, and return the variables that name them.

    Args:
        bundle: PEM file that replaces the system's roots.
        base: the environment that the command would have had.

    Raises:
        OSError: a file cannot be written.
    """
    folder, found = tool_files(bundle), {}
    for program, variable, name, text in _wanted(str(bundle)):
        given = base.get(variable, "")
        if not shutil.which(program, path=base.get("PATH")) or not (_is_free(program, base) or _is_ours(given)):
            continue
        path = folder / name
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        replace_file(path, text.encode(), 0o644)
        found[variable] = _in_php(given, path.parent) if program == "php" else str(path)
    return found


def _wanted(bundle: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield program, variable, file and its text (apt.conf(5), wget's manual 6.2, php.net/configuration.file)."""
    yield "apt-get", "APT_CONFIG", "apt.conf", f'Acquire::https::CAInfo "{bundle}";\n'
    yield "wget", "WGETRC", "wgetrc", f"ca_certificate = {bundle}\n"
    yield "php", "PHP_INI_SCAN_DIR", "php/outward.ini", f'openssl.cafile = "{bundle}"\ncurl.cainfo = "{bundle}"\n'


def _is_free(program: str, base: Mapping[str, str]) -> bool:
    """Tell whether a program reads a file of ours beside the caller's, or the caller has none."""
    if program == "wget":
        return not base.get("WGETRC") and not (Path(base.get("HOME", "/")) / ".wgetrc").exists()
    return program == "php" or not base.get("APT_CONFIG")


def _is_ours(given: str) -> bool:
    """Tell whether a file is of a run that this one runs in, whose roots are in the bundle already."""
    return tool_files(Path("ca-bundle.pem")).suffix in Path(given).parent.suffixes


def _in_php(given: str, folder: Path) -> str:
    """Add a folder to those that PHP scans; an empty one is PHP's own."""
    return given if str(folder) in given.split(os.pathsep) else f"{given}{os.pathsep}{folder}"
