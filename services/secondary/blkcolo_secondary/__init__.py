"""The secondary: the second disk and its Disk Buffer."""
