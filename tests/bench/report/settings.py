"""What was asked for: the settings of a run, as a value and in words."""

from __future__ import annotations

from dataclasses import dataclass

_GIB = 1 << 30
_MIB = 1 << 20


@dataclass(frozen=True)
class Settings:
    """What was asked for; None where a benchmark has no such setting.

    Attributes:
        size: bytes of each image.
        seconds: the length of each load.
        rounds: how often each load is run.
        quick: to see that it works, not for its figures.
    """

    size: int | None = None
    seconds: float | None = None
    rounds: int | None = None
    quick: bool = False

    def options(self) -> dict[str, str]:
        """Those that it has, by name, as the command line takes them."""
        found = {}
        if self.size is not None:
            found["size"] = size_text(self.size).replace(" ", "")[:-2]
        if self.seconds is not None:
            found["seconds"] = f"{self.seconds:g}"
        if self.rounds is not None:
            found["rounds"] = str(self.rounds)
        return found

    def text(self) -> str:
        """Those that it has, in words; empty where there are none."""
        parts = []
        if self.size is not None:
            parts.append(f"images of {size_text(self.size)}")
        if self.rounds is not None:
            parts.append(f"{self.rounds} round{'s' * (self.rounds > 1)}")
        if self.seconds is not None:
            parts.append(f"{self.seconds:g} s a load")
        return ", ".join(parts)

    def reach(self, goals: Settings) -> bool:
        """True if a run of these may be held against goals that are of `goals`.

        The images are of the same size, and no load is shorter or run less often.
        """
        return (
            not self.quick
            and self.size == goals.size
            and (self.seconds or 0) >= (goals.seconds or 0)
            and (self.rounds or 0) >= (goals.rounds or 0)
        )


def size_text(size: int) -> str:
    """Bytes in the largest unit that fits."""
    unit, name = (_GIB, "GiB") if size % _GIB == 0 else (_MIB, "MiB")
    return f"{size // unit} {name}"
