"""The Disk Buffer: the disk, what it held before, and what the Secondary VM wrote.

`disk_buffer` is its door. Everything on the secondary may import it; it imports no
other room.
"""
