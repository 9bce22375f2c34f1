"""The groups at run time: each is looked at, started, checkpointed, and changes roles.

The modules above the rooms import it; it may import every other room.
"""
