"""A service as a process: how it starts, reads its options, reloads and stops.

The services import it; it may import every other room.
"""
