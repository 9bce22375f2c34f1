"""Which role may call which RPC: the one table, and nothing is allowed beside it.

A role is a URI in the certificate's subject alternative names: `blkcolo://role/node`.
A certificate may carry several; what one of them may do, the certificate may do. A
primary and a secondary have the same role, since a failover swaps them.

    node         a data service: forwards writes, reports
    coordinator  drives groups: checkpoints, failovers, fences
    operator     a person, or a hypervisor's checkpoint thread: the same by hand
    observer     reads states, never changes one
    nbd          attaches disks over NBD, calls nothing

A new RPC needs a line here; until it has one, nobody may call it and a test fails.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_PREFIX = "blkcolo://role/"


class PeerRole(enum.Enum):
    """What a certificate's holder is."""

    NODE = "node"
    COORDINATOR = "coordinator"
    OPERATOR = "operator"
    OBSERVER = "observer"
    NBD = "nbd"

    @property
    def uri(self) -> str:
        """As a certificate says it."""
        return _PREFIX + self.value


_FORWARD = frozenset({PeerRole.NODE})
_CONTROL = frozenset({PeerRole.COORDINATOR, PeerRole.OPERATOR})
_READ = frozenset(
    {PeerRole.NODE, PeerRole.COORDINATOR, PeerRole.OPERATOR, PeerRole.OBSERVER}
)
_PROBE = frozenset(PeerRole)

#: Allowed callers by service and method.
TABLE: dict[str, dict[str, frozenset[PeerRole]]] = {
    "blkcolo.v1.PrimaryService": {
        "StartReplication": _CONTROL,
        "PrepareCheckpoint": _CONTROL,
        "DoCheckpoint": _CONTROL,
        "StopReplication": _CONTROL,
        "Fence": _CONTROL,
        "Hold": _CONTROL,
        "Verify": _CONTROL,
        "GrowVolume": _CONTROL,
        "GetSentDataSize": _READ,
        "GetStatus": _READ,
    },
    "blkcolo.v1.SecondaryService": {
        "WriteForward": _FORWARD,
        "PrepareCheckpoint": _CONTROL,
        "DoCheckpoint": _CONTROL,
        "StopReplication": _CONTROL,
        "GrowVolume": _CONTROL,
        "GetStatus": _READ,
        "ListCheckpoints": _READ,
    },
    "blkcolo.v1.NodeService": {
        "Demote": _CONTROL,
        "Promote": _CONTROL,
        "GetRoles": _READ,
        "CallMany": _CONTROL,
    },
    "blkcolo.v1.CoordinatorService": {
        "Checkpoint": _CONTROL,
        "Failover": _CONTROL,
        "Reprotect": _CONTROL,
        "Switchover": _CONTROL,
        "Failback": _CONTROL,
        "StopReplication": _CONTROL,
        "PauseReplication": _CONTROL,
        "ResumeReplication": _CONTROL,
        "CreateGroup": _CONTROL,
        "UpdateGroup": _CONTROL,
        "DeleteGroup": _CONTROL,
        "Verify": _CONTROL,
        "GrowVolume": _CONTROL,
        "GetGroup": _READ,
        "ListGroups": _READ,
        "WatchGroups": _READ,
        "WatchEvents": _READ,
        "Explain": _READ,
        "ListCheckpoints": _READ,
    },
    "grpc.health.v1.Health": {"Check": _PROBE, "List": _PROBE, "Watch": _PROBE},
    "grpc.reflection.v1alpha.ServerReflection": {"ServerReflectionInfo": _READ},
    "grpc.channelz.v1.Channelz": dict.fromkeys(
        (
            *("GetTopChannels", "GetServers", "GetServer", "GetServerSockets"),
            *("GetChannel", "GetSubchannel", "GetSocket"),
        ),
        _READ,
    ),
}

#: Who may attach a disk over NBD, where client certificates are verified.
NBD_ROLES = frozenset({PeerRole.NBD, PeerRole.OPERATOR})


def roles_of(uris: Iterable[str]) -> frozenset[PeerRole]:
    """The roles among a certificate's URIs; others are somebody else's business."""
    known = {role.uri: role for role in PeerRole}
    return frozenset(known[uri] for uri in uris if uri in known)


def allowed(method: str) -> frozenset[PeerRole]:
    """Who may call `/package.Service/Method`; nobody if the table has no line."""
    service, _, name = method.removeprefix("/").partition("/")
    return TABLE.get(service, {}).get(name, frozenset())


def names(roles: Iterable[PeerRole]) -> str:
    """Roles as people read them."""
    return ", ".join(sorted(role.value for role in roles)) or "none"
