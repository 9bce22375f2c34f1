"""The hot paths do not grow: their operations are counted, not timed."""
