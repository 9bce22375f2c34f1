"""A group on the primary at run time: its streams and the passes over its disks.

The modules above the rooms import it; it may import every other room.
"""
