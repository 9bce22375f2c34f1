"""The VM's writes: when they may come, in which order, and what each reply waits for.

`runtime` imports it; it imports `core` and `record`.
"""
