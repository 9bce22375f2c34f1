"""What the primary decides for one group: its stream, its epochs, its resync.

Values in, effects out. `vm` and `runtime` import it; it imports `record`.
"""
