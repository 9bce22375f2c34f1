"""The options of the commands, with their types: an impossible value is refused."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from blkcolo.process.settings import parse_size
from tests.bench.report.settings import size_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cyclopts import Token

    from tests.bench.catalogue import Bench

_MIB = 1 << 20
OUT = Path("bench-results")
TMPFS = Path("/dev/shm")  # noqa: S108 - a folder of its own is made in it
HERE = Path()


def _folder(_: object, value: Path | None) -> None:
    if value is not None and not value.is_dir():
        message = "Name a folder that exists"
        raise ValueError(message)


Folder = Annotated[
    Path | None,
    Parameter(
        name="--dir",
        validator=_folder,
        help="Where images live; a folder on tmpfs, or a disk.",
    ),
]
Disk = Annotated[
    Path,
    Parameter(
        validator=_folder,
        help="Where those of the comparison on a disk live.",
    ),
]
Out = Annotated[Path, Parameter(help="Where JSON and plots go.")]
Taken = Annotated[
    Path, Parameter(name="--from", validator=_folder, help="Where JSON and plots are.")
]
Quick = Annotated[bool, Parameter(negative="", help="Only to see that it works.")]


def signature(bench: Bench) -> inspect.Signature:
    """Of the command of a benchmark: the options that it takes, and no other."""
    kinds: dict[str, tuple[Any, Any]] = {"folder": (Folder, None)}
    if bench.settings.size is not None:
        kinds["size"] = (_size(bench.quick.size or 0), None)
    if bench.settings.seconds is not None:
        kinds["seconds"] = (_seconds(bench.quick.seconds or 0), None)
    if bench.settings.rounds is not None:
        kinds["rounds"] = (_rounds(), None)
    kinds |= {"quick": (Quick, False), "out": (Out, OUT)}
    return inspect.Signature(
        [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind
            )
            for name, (kind, default) in kinds.items()
        ]
    )


def _size(least: int) -> Any:
    def read(_: object, tokens: Sequence[Token]) -> int:
        size = parse_size(tokens[0].value)
        if size < least or size % _MIB:
            message = f"Give whole MiB, at least {size_text(least)}"
            raise ValueError(message)
        return size

    asked = Parameter(converter=read, help="Size of each image: 512M, 4G.")
    return Annotated[int | None, asked]


def _seconds(least: float) -> Any:
    return Annotated[
        float | None,
        Parameter(validator=_at_least(least), help="Length of each load."),
    ]


def _rounds() -> Any:
    return Annotated[
        int | None, Parameter(validator=_at_least(1), help="Runs of each load.")
    ]


def _at_least(least: float) -> Callable[[object, float | None], None]:
    def check(_: object, value: float | None) -> None:
        if value is not None and not least <= value < math.inf:
            message = f"Give at least {least:g}"
            raise ValueError(message)

    return check
