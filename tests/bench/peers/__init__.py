"""Who is measured: this system's pair, QEMU's replication, servers without a replica.

`peer` says what each must offer, `images` makes what each begins with.
"""
