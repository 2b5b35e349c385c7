"""The soak, short: half a minute of every attack at a fiftieth of the load. `soak.py` is the long run."""

import os
from pathlib import Path

import pytest

from soak.soak import Bounds, soak


@pytest.mark.skipif("OUTWARD_SOAK" not in os.environ, reason="a soak wants a machine to itself: set OUTWARD_SOAK=1")
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_good_client_is_served_while_everything_is_tried_at_once(tmp_path: Path) -> None:
    """Memory, threads, files, series, caches and disk stay within their bounds meanwhile."""
    report = soak(tmp_path, 0.4, 0.02, Bounds(memory=256))
    print(report)
    assert report.broken == []
    tried = {name.partition(":")[0] for name in report.outcomes}
    assert {"slow_head", "head_bomb", "bomb_from_origin", "endless_head", "chunk_tricks", "idle", "greed"} <= tried
