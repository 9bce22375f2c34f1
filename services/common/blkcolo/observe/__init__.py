"""What a service shows of itself: the metrics endpoint, and the pages beside it.

`nbd`, `process` and the services import it; it imports `security`.
"""
