"""A group on the secondary at run time: tasks, threads and waits around its core.

The modules above the rooms import it; it may import every other room.
"""
