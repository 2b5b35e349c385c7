"""Fuzz one target with atheris: `python tests/fuzz/run.py TARGET [libFuzzer options]`.

Needs `pip install atheris` beside the package; the short run in the test suite needs nothing.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["outward", "idna"]):
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from harness.fuzzing import TARGETS, seeds


def main() -> None:
    """Run a target until its time is over or an input breaks it; new inputs stay in `--corpus` folders of libFuzzer."""
    name, *options = sys.argv[1:]
    folder = Path(f"/tmp/outward-fuzz-{name}")
    folder.mkdir(exist_ok=True)
    for number, seed in enumerate(seeds(name)):
        (folder / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], *options, str(folder)], TARGETS[name])
    atheris.Fuzz()


main()
