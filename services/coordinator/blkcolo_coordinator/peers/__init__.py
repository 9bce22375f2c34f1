"""The two nodes of a group: who is who, what they say, and the calls to them.

`runtime` imports it; it imports `runs` and `core`.
"""
