"""Which options a new configuration changes: settings as flat keys, compared.

Elements with a name are found by it, wherever they stand, as in
`groups[vm1].policy.sent_bytes`. Where a whole part is new, gone or replaced, it is one
change: `groups[vm2]`, `tls`. The order of volumes counts, that of groups does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNORDERED = ("groups",)
_THERE, _MISSING = "there", object()


class InForce:
    """The options that a process goes by; part of them may be newer than the rest."""

    def __init__(self, settings: BaseModel) -> None:
        """Takes what the process was started with."""
        self._values = dict(_flat(settings, ""))

    def changed(self, new: BaseModel) -> frozenset[str]:
        """The keys that differ from what is in force; none lies within another."""
        theirs = dict(_flat(new, ""))
        differing = {
            key
            for key in self._values.keys() | theirs.keys()
            if self._values.get(key, _MISSING) != theirs.get(key, _MISSING)
        }
        return frozenset(
            key
            for key in differing
            if not any(_within(key, other) for other in differing if other != key)
        )

    def took(self, new: BaseModel, keys: frozenset[str]) -> None:
        """These keys of `new` are in force now."""
        for key in keys:
            kept = {k: v for k, v in self._values.items() if not _within(k, key)}
            fresh = {k: v for k, v in _flat(new, "") if _within(k, key)}
            self._values = kept | fresh


def _within(key: str, part: str) -> bool:
    return key == part or key.startswith((f"{part}.", f"{part}["))


def _flat(value: object, key: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            inner = f"{key}.{name}" if key else name
            yield from _flat(getattr(value, name), inner)
    elif isinstance(value, list):
        names = [
            str(getattr(each, "name", number)) for number, each in enumerate(value)
        ]
        if key not in _UNORDERED:
            yield key, tuple(names)
        for name, each in zip(names, value, strict=True):
            yield f"{key}[{name}]", _THERE
            yield from _flat(each, f"{key}[{name}]")
    else:
        yield key, value
