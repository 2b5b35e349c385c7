"""The pure core: names, addresses, policy and decisions. No I/O, no clock, no framework."""
