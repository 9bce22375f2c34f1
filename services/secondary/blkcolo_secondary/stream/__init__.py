"""One WriteForward stream: may it begin, is what comes sound, and what it does.

`core` imports it; it imports `buffer` and `record`.
"""
