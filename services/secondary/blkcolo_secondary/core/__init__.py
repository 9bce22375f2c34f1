"""What the secondary decides for one group: streams, checkpoints, and their end.

Values in, effects out. `runtime` imports it; it imports `stream`, `buffer` and
`record`.
"""
