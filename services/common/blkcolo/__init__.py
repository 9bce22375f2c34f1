"""Shared by the three services.

Above the rooms stand the words that all use: errors, extents, the messages of a stream.
"""
