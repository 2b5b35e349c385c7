"""A short run of every fuzz target: its seeds, their mutations, and arbitrary bytes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.fuzzing import TARGETS, seeds


@pytest.mark.parametrize("name", TARGETS)
def test_the_invariant_holds_for_every_seed(name: str) -> None:
    for seed in seeds(name):
        TARGETS[name](seed)


@pytest.mark.parametrize("name", TARGETS)
def test_the_invariant_holds_for_mutations(name: str) -> None:
    @settings(max_examples=300, deadline=None)
    @given(st.sampled_from(seeds(name)), st.binary(max_size=64), st.integers(0, 80), st.integers(0, 8))
    def mutate(seed: bytes, fresh: bytes, at: int, cut: int) -> None:
        TARGETS[name](seed[:at] + fresh + seed[at + cut :])

    mutate()
