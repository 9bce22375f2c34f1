"""Which role a node plays for a group: one word in a file, `<group>.role`.

The file appears with the first change of role. Replacing it is the moment of the
change: whatever dies, the group is in the old role or in the new one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo.errors import DataLoss, Reason
from blkcolo.roles import Role
from blkcolo.storage import state_file

if TYPE_CHECKING:
    from blkcolo.storage.files import Folder


def load(folder: Folder, group: str, first: Role) -> Role:
    """The role in force; `first` for a group that has never changed it.

    Raises:
        DataLoss: the file is damaged; names it.
    """
    name = _name(group)
    content = state_file.load(folder, name)
    if content is None:
        return first
    roles = {role.word: role for role in Role}
    word = content.decode(errors="replace")
    if word not in roles:
        raise DataLoss(
            Reason.DISK_ERROR,
            f"{name} is damaged: it says {word!r}; ask the coordinator which role the"
            f" group has here, and write {' or '.join(roles)} into it",
        )
    return roles[word]


def save(folder: Folder, group: str, role: Role) -> None:
    """Changes the role; it holds when this returns.

    Raises:
        BlkcoloError: the disk refused; the old role holds.
    """
    state_file.save(folder, _name(group), role.word.encode())


def _name(group: str) -> str:
    return f"{group}.role"
