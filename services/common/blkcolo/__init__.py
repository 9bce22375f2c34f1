"""Shared by the three services: wire, NBD, disks, errors, logs, metrics."""
