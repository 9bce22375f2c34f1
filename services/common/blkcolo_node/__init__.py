"""A node: one process that plays the primary or the secondary of each group."""
