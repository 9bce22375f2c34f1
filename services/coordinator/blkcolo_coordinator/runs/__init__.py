"""Checkpoint, failover, switchover, reprotect: each step by step, as values.

What carries the steps out imports it; it imports `core`.
"""
