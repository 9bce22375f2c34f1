"""The coordinator: decides when to checkpoint and who is who.

Above the rooms stands what others see: the RPCs, the status page and the metrics.
"""
