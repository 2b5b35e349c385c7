"""Start and reload of a fleet's files, each confined to a subtree of its own.

PYTHONPATH=addons .venv/bin/python tests/bench/tenants_bench.py [FILES [RULES]]
"""

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from outward.config.load import Loaded, load
from outward.config.watch import fingerprint

MAIN = """\
version: 1
include: [{files: "p/namespace_{namespace}.configmap_*.yaml", under: "k8s/{namespace}"}]
groups: {k8s: {ceiling: [{host: .example, public_suffix: true}]}}
clients: [{issuer: "https://i.example", audience: a, jwks: k.json, group_claim: n, group: "k8s/{claim}"}]
"""


def timed[T](what: str, work: Callable[[], T]) -> T:
    """Do something, and print what it cost."""
    wall, cpu = time.perf_counter(), time.process_time()
    done = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{what:28} {cpu:5.2f} s of CPU, {wall:5.2f} s, {most:.0f} MiB at most")
    return done


def run(files: int, rules: int) -> None:
    """Measure."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "p").mkdir()
        (folder / "outward.yaml").write_text(MAIN)

        def write(number: int, allow: str) -> None:
            (folder / f"p/namespace_t{number}.configmap_egress.p.yaml").write_text(
                f"groups: {{k8s/t{number}: {{deny: [bad.t{number}.example], allow: [{allow}]}}}}\n"
                f"tests: [{{group: k8s/t{number}, url: h0.t{number}.example, expect: allow}}]\n"
            )

        for number in range(files):
            write(number, ", ".join(f"h{rule}.t{number}.example" for rule in range(rules - 1)))

        def again(before: Loaded | None = None) -> Loaded:
            return load(folder / "outward.yaml", env={}, machine={}, before=before)

        first = timed(f"start, {files} files", again)
        assert len(first.subtrees) == files
        assert not first.kept_back
        second = timed("reload, nothing changed", lambda: again(first))
        write(0, "'***'")
        third = timed("reload, one is broken", lambda: again(second))
        assert len(third.kept_back) == 1
        timed("look for changes", lambda: fingerprint(third.files, third.folders))


if __name__ == "__main__":
    numbers = [int(each) for each in sys.argv[1:]]
    run(*(numbers + [2000, 20][len(numbers) :]))
