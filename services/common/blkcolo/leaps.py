"""Numbers that only grow, and that a caller brings: generations and epochs.

One that is taken holds for ever, since only a higher one replaces it. So a single
damaged or forged call must not use them up: it may raise one only so far.
"""

from __future__ import annotations

from blkcolo.errors import Invalid, Reason, Refused, StaleGeneration

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


def check_generation(
    group: str, generation: int, known: int, *, brought_by: str | None
) -> None:
    """Refuses a caller of another generation than the one in force.

    Args:
        group: its name, for errors.
        generation: the caller's.
        known: the one in force.
        brought_by: the calls that bring a newer one; None: this one does.

    Raises:
        StaleGeneration: the caller's is older.
        Refused: it is newer, and this call does not bring a newer one.
        Invalid: it is newer by more than anybody can have raised it.
    """
    if generation < known:
        raise StaleGeneration.of(group, generation, known)
    if generation > known and brought_by is not None:
        raise Refused(
            Reason.UNKNOWN_GENERATION,
            f"group {group}: generation {generation} is not known here, {known} is in"
            f" force; only {brought_by} brings a newer one",
        )
    check_leap(group, "generation", generation, known)
