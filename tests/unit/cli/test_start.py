"""What a short command never needs is not loaded for it: each module costs its start."""

import subprocess
import sys

LATER = {
    "cryptography",  # the CA is read when the proxy listens
    "difflib",
    "outward.cli.jail",
    "outward.config.load",
    "outward.ops.server",
    "outward.proxy.desk",
    "outward.proxy.governance",
    "outward.search.govern",
    "prometheus_client",
    "pydantic",
}


def test_run_loads_nothing_that_it_may_never_need() -> None:
    say = "import sys, outward.cli.main, outward.cli.run; print(*sys.modules); import outward.proxy.engine; print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", say], capture_output=True, text=True, check=True).stdout
    loaded, with_engine = (line.split() for line in said.splitlines())
    assert "outward.cli.run" in loaded
    assert LATER.isdisjoint(loaded)
    assert "outward.proxy.inspection.connection" in with_engine
    assert {"h2", "hpack", "outward.http2"}.isdisjoint(with_engine)  # until a client speaks nothing else
