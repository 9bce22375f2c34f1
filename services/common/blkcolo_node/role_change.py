"""A change of role on disk, in an order that any death may interrupt.

The role file is written last: until then the old role holds, fenced, and the same
call goes on. Both are answered only when everything is on disk.

    demote    the replica keeps what the disk holds, then the role
    promote   generation and epoch of the primary, then the role
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blkcolo.errors import Reason, Refused, StaleGeneration
from blkcolo.leaps import check_leap
from blkcolo.roles import Role
from blkcolo_node import role_file
from blkcolo_primary.core.forward_state import ForwardState
from blkcolo_primary.record import durable_state
from blkcolo_primary.record.durable_state import DurableState
from blkcolo_secondary.core.replica_state import ReplicaState

if TYPE_CHECKING:
    from blkcolo.storage.files import Folder
    from blkcolo_primary.core.forwarder import ForwarderCore
    from blkcolo_secondary.core.replica import Replica


def needs_fence(core: ForwarderCore, generation: int) -> bool:
    """True if this primary is to be fenced in the generation before its demotion.

    Raises:
        StaleGeneration: the caller's is older than the one in force.
    """
    if generation < core.generation:
        raise StaleGeneration.of(core.group, generation, core.generation)
    return generation > core.generation or core.state is not ForwardState.FENCED


def demote(folder: Folder, replica: Replica, generation: int, epoch: int) -> None:
    """Makes a fenced primary the secondary; what the disk holds can be brought back.

    Args:
        folder: where the role is kept.
        replica: the same disks in their new role.
        generation: the new one.
        epoch: the newest that the primary knows.

    Raises:
        BlkcoloError: it is still primary: calling again goes on.
    """
    replica.demote(generation, epoch)
    role_file.save(folder, replica.group, Role.SECONDARY)


def demote_again(replica: Replica, generation: int) -> None:
    """It is secondary already: demoted before, or failed over and given up.

    Raises:
        BlkcoloError: the generation or the state does not allow it, or the disk.
    """
    known = replica.generation
    if generation < known:
        raise StaleGeneration.of(replica.group, generation, known)
    if generation > known or replica.tracks:  # else: done before
        replica.demote(generation, replica.reception.newest_epoch)


def check_promotion(group: str, known: int, generation: int) -> None:
    """Raises BlkcoloError unless the caller's generation can be in force."""
    if generation < known:
        raise StaleGeneration.of(group, generation, known)
    check_leap(group, "generation", generation, known)


def promote(folder: Folder, replica: Replica, generation: int) -> None:
    """Makes a survivor whose flush is complete the primary.

    Args:
        folder: where the role and the primary's state are kept.
        replica: the survivor.
        generation: the new one.

    Raises:
        Refused: it is no ordinary disk yet.
        BlkcoloError: the disk refused; it is still secondary: calling again goes on.
    """
    if replica.state is not ReplicaState.FAILED_OVER:
        raise Refused(
            Reason.WRONG_STATE,
            f"group {replica.group} is {replica.state.name}: a promotion needs it to be"
            " FAILED_OVER",
        )
    state = DurableState(generation, fenced=False, epoch=replica.reception.newest_epoch)
    durable_state.save(folder, replica.group, state)
    role_file.save(folder, replica.group, Role.PRIMARY)
