"""Files, records and folders: how everything durable lies on a disk.

`intent` and the services import it; it imports no other room.
"""
