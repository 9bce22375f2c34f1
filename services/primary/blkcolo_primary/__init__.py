"""The primary: serves the VM disk over NBD and forwards its writes.

Above the rooms stands what others see: the RPCs, the VM's disk, status and metrics.
"""
