"""The benchmarks, one a file, each named as its command and its target.

Beside them `usage`, what a process uses, and `simulated_nodes` of the coordinator's.
"""
