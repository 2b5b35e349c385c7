"""How all tests run: over how many processes, and what they show meanwhile."""

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

from harness.progress import Progress

# A busy machine draws and runs examples slowly, and no law is about time. A change is judged by the same examples each
# time; a night draws others: `--hypothesis-profile anew`.
settings.register_profile("anew", deadline=None, derandomize=False, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("outward", settings.get_profile("anew"), derandomize=True, database=None)
settings.load_profile("outward")


@pytest.hookimpl(trylast=True)  # behind the terminal's own
def pytest_configure(config: pytest.Config) -> None:
    if (
        signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    ):  # as a script's background; the programs of tests would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    terminal = config.pluginmanager.getplugin("terminalreporter")
    if terminal is not None and config.get_verbosity() < 0:
        config.pluginmanager.register(Progress(terminal))


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """`auto`: two for each core, since most tests wait for other processes; `logical`: one, for those that compute."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores if config.option.numprocesses == "logical" else 2 * cores, 12)
