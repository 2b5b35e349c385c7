"""Runs the attacks, all at once, in a process of their own, and counts what became of them."""

import asyncio
import collections
import multiprocessing
import resource
import socket
import ssl
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import uvloop

from harness.soak.attacks import ATTACKS, Attack
from harness.soak.target import WAIT, Address, Target


async def _again(attack: Attack, rest: float, target: Target, counts: collections.Counter[str], delay: float) -> None:
    await asyncio.sleep(delay)
    while True:
        try:
            outcome = await attack(target)
        except AssertionError as error:
            outcome = f"WON ({error})"
        except (OSError, ssl.SSLError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            outcome = f"failed ({type(error).__name__})"
            await asyncio.sleep(1)
        counts[f"{attack.__name__}: {outcome}"] += 1
        await asyncio.sleep(rest)


async def _run(pipe: Connection, target: Target) -> None:
    counts: collections.Counter[str] = collections.Counter()
    tasks = []
    for attack, (workers, rest) in ATTACKS.items():
        share = max(1, round(workers * target.scale))
        spread = 120 * target.scale  # seconds over which they begin
        tasks += [asyncio.create_task(_again(attack, rest, target, counts, spread * n / share)) for n in range(share)]
    await asyncio.get_running_loop().run_in_executor(None, pipe.recv)
    for task in tasks:
        task.cancel()
    pipe.send(counts)


def _main(pipe: Connection, proxy: Address, ports: dict[str, int], ca: Path, scale: float) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    socket.setdefaulttimeout(WAIT)
    uvloop.run(_run(pipe, Target(proxy, ports, ca, scale)))


def start(proxy: Address, ports: dict[str, int], ca: Path, scale: float) -> Callable[[], collections.Counter[str]]:
    """Start the attacks; what is returned ends them, and returns how often each ended how."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_main, args=(theirs, proxy, ports, ca, scale), daemon=True)
    process.start()

    def end() -> collections.Counter[str]:
        ours.send(None)
        counts: collections.Counter[str] = ours.recv()
        process.kill()
        process.join(10)
        return counts

    return end
