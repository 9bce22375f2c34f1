"""The intent log: which regions may differ from the last committed checkpoint.

The services import it; it imports `storage`.
"""
