"""`python -m tests.bench`: what `make bench-...` runs."""

from __future__ import annotations

import sys

from tests.bench.command.stopping import end_on_signals

if __name__ == "__main__":
    end_on_signals()
    from tests.bench.command.app import main  # behind: it takes a second or two

    sys.exit(main(sys.argv[1:]))
