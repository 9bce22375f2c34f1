"""The secondary: the second disk and its Disk Buffer.

Above the rooms stands what others see: the RPCs, the exports, status and metrics.
"""
