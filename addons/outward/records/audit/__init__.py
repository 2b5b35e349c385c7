"""The audit chains: what compliance asks about, signed, verified, streamed, and erased if a person asks."""
