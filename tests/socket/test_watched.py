"""The test mode that watches loops notices what holds one up, and accuses nobody else."""

import os
import subprocess
import sys
from pathlib import Path

from harness import watched

BURN = """
import asyncio, time
from harness import watched
watched.install(among_tests=False)

def burn(seconds):
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass

async def product():
    asyncio.get_running_loop().call_soon(burn, {callback})
    await asyncio.sleep(0)
    burn({step})
    await asyncio.sleep(0)
    time.sleep(0.06)

asyncio.run(product())
"""


def told(tmp_path: Path, callback: float, step: float) -> list[str]:
    file = tmp_path / "loops"
    file.touch()
    script = BURN.format(callback=callback, step=step)
    environment = os.environ | {"WATCH_LOOPS_FILE": str(file), "PYTHONPATH": str(Path(watched.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    return file.read_text().splitlines()


def test_a_callback_or_a_step_that_takes_too_long_is_told_of(tmp_path: Path) -> None:
    callback, step = told(tmp_path, callback=0.06, step=0.06)
    assert "burn" in callback
    assert "product" in step


def test_who_only_waits_is_not(tmp_path: Path) -> None:
    assert told(tmp_path, callback=0.001, step=0.001) == []
