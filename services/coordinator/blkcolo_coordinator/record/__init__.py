"""What the coordinator remembers: its groups, and what was told of them.

`runtime` and the modules above the rooms import it; it imports `core`.
"""
