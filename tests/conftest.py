"""What holds for all tests."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("patient", deadline=None)  # a busy machine is no failure
if "CI" not in os.environ:  # there hypothesis has a profile of its own
    settings.load_profile("patient")
