"""Deadlines: many waits on one timer."""

import asyncio

from harness.loops import on_loop, until
from outward.proxy.deadlines import Deadlines


class Item:
    touched = False
    over = False

    def expired(self) -> None:
        self.over = True


@on_loop
async def test_what_waits_too_long_expires_and_what_stops_does_not():
    deadlines, late, gone = Deadlines(0.05), Item(), Item()
    deadlines.start(late)
    deadlines.start(gone)
    deadlines.stop(gone)
    deadlines.stop(Item())
    await until(lambda: late.over)
    assert not gone.over
    assert not list(deadlines)


@on_loop
async def test_traffic_grants_one_more_period():
    loop = asyncio.get_running_loop()
    deadlines, busy, began = Deadlines(0.1), Item(), loop.time()
    busy.touched = True
    deadlines.start(busy)
    await until(lambda: busy.over)
    assert round(loop.time() - began, 3) >= 0.2  # the loop's clock counts milliseconds
    assert not busy.touched


@on_loop
async def test_an_item_that_starts_later_ends_later():
    deadlines, first, second = Deadlines(0.1), Item(), Item()
    deadlines.start(first)
    loop = asyncio.get_running_loop()
    loop.call_later(0.05, deadlines.start, second)
    await until(lambda: first.over)
    assert not second.over
    await until(lambda: second.over)


@on_loop
async def test_closing_forgets_everything():
    deadlines, item = Deadlines(0.01), Item()
    deadlines.start(item)
    deadlines.close()
    other = Deadlines(0.03)
    witness = Item()
    other.start(witness)
    await until(lambda: witness.over)
    assert not item.over
