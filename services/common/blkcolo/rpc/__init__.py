"""gRPC as all three services use it: client, server, errors, the stream on the wire.

`process` and the services import it; it imports `security`.
"""
