"""The two roles that a node plays, and the groups that it plays one of them for."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Protocol, TypeVar

from blkcolo.errors import Invalid, Reason, Refused, StaleGeneration

if TYPE_CHECKING:
    from collections.abc import Callable


class Role(enum.IntEnum):
    """What a node is to a group; the numbers are those of blkcolo.v1.Role."""

    #: It serves the VM's disk and forwards.
    PRIMARY = 1
    #: It receives, and can be failed over to.
    SECONDARY = 2

    @property
    def word(self) -> str:
        """The word for people and files."""
        return self.name.lower()


class Playing(Protocol):
    """A group of a node, in whichever role."""

    @property
    def generation(self) -> int:
        """The newest known generation."""
        ...


N = TypeVar("N", bound=Playing)
G = TypeVar("G")


class GroupsInRole(Mapping[str, G]):
    """The groups that are in one role here; knows of the others why they are not."""

    def __init__(
        self, role: Role, groups: Mapping[str, N], playing: Callable[[N], G | None]
    ) -> None:
        """Takes all groups of the node, and what plays the role in one, if any."""
        self._role = role
        self._known: Mapping[str, Playing] = groups
        self._find: Callable[[str], G | None] = lambda name: playing(groups[name])

    def __getitem__(self, name: str) -> G:
        group = self._find(name)
        if group is None:
            raise KeyError(name)
        return group

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._known if self._find(name) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def find(self, name: str, generation: int | None = None) -> G:
        """The group of this name.

        Args:
            name: the group's name.
            generation: the caller's, where that can tell a stale one.

        Raises:
            Invalid: there is none.
            StaleGeneration: it has changed its role in a newer generation.
            Refused: it is in the other role.
        """
        if name not in self._known:
            known = ", ".join(self._known) or "none"
            raise Invalid(
                Reason.WRONG_GROUP,
                f"no group {name!r} on this {self._role.word} (it has: {known});"
                " check the name and the address",
            )
        group = self._find(name)
        if group is not None:
            return group
        newest = self._known[name].generation
        if generation is not None and generation < newest:
            raise StaleGeneration.of(name, generation, newest)
        other = Role.SECONDARY if self._role is Role.PRIMARY else Role.PRIMARY
        raise Refused(
            Reason.WRONG_ROLE,
            f"group {name} is {other.word} here, not {self._role.word};"
            " ask the coordinator who is",
        )
