"""Numbers that only grow, and that a caller brings: generations and epochs.

One that is taken holds for ever, since only a higher one replaces it. So a single
damaged or forged call must not use them up: it may raise one only so far.
"""

from __future__ import annotations

from blkcolo.errors import Invalid, Reason

#: The largest step; at ten a second it takes 13 years to get there.
LONGEST = 1 << 32


def check_leap(group: str, what: str, number: int, known: int) -> None:
    """Raises Invalid if `number` is too far above the one that is known here."""
    if number - known > LONGEST:
        raise Invalid(
            Reason.INVALID,
            f"group {group}: {what} {number} is more than {LONGEST} above the known"
            f" {known}: nobody can have got there; repeat it with the {what} that the"
            " coordinator reports",
        )
