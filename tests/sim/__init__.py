"""Deterministic simulation of a whole group; see `world`."""
