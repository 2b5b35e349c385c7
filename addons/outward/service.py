"""Assembles a running proxy from settings and policy. Owns start, reload, drain and stop; decides nothing."""
