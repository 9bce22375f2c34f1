"""CoordinatorService on the wire: decode, call, encode."""

from __future__ import annotations

import asyncio
import math
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from blkcolo.addresses import Address
from blkcolo.errors import Exhausted, Invalid, Reason
from blkcolo.v1 import coordinator_pb2 as pb
from blkcolo.v1 import coordinator_pb2_grpc as rpc
from blkcolo_coordinator.core.group_record import GroupRecord
from blkcolo_coordinator.core.policy import Policy
from blkcolo_coordinator.record.event_stream import follow
from blkcolo_coordinator.runs.roles import Side
from blkcolo_coordinator.runtime.group_facts import explained
from blkcolo_coordinator.status import (
    event,
    report,
    role_change,
    timings,
    verb_conditions,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from blkcolo.rpc.context import Context
    from blkcolo_coordinator.runtime.groups import Groups

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_MAX_WATCHERS = 64
_WATCH_SECONDS = 1.0
_LONGEST_WATCH_SECONDS = 3600
#: What a Checkpoint without a deadline gets, in seconds.
_DEFAULT_DEADLINE = 30.0


class CoordinatorServicer(rpc.CoordinatorServiceServicer):
    """Serves people and grpcurl."""

    def __init__(self, groups: Groups) -> None:
        """Takes the groups."""
        self._groups = groups
        self._watchers = 0

    async def Checkpoint(
        self, request: pb.CheckpointRequest, context: Context
    ) -> pb.CheckpointResponse:
        """Takes a checkpoint now."""
        remaining = context.time_remaining() or _DEFAULT_DEADLINE
        driver = self._groups.find(request.group)
        run = await driver.checkpoint(max(remaining - 0.2, remaining / 2))
        return pb.CheckpointResponse(epoch=run.epoch, timings=timings(run))

    async def Failover(
        self,
        request: pb.FailoverRequest,
        context: Context,  # noqa: ARG002 - gRPC's signature
    ) -> pb.FailoverResponse:
        """Makes the secondary's disk the VM's disk."""
        driver = self._groups.find(request.group)
        fenced = await driver.fail_over(
            force=request.force,
            epoch=request.epoch if request.HasField("epoch") else None,
        )
        record, secondary = driver.record, driver.sides.secondary
        led_to = secondary.committed_epoch if secondary else record.committed or 0
        return pb.FailoverResponse(
            generation=record.generation,
            committed_epoch=led_to,
            nbd_uris=secondary.nbd_uris if secondary else [],
            primary_fenced=fenced,
        )

    async def Reprotect(
        self,
        request: pb.ReprotectRequest,
        context: Context,  # noqa: ARG002 - gRPC's signature
    ) -> pb.ReprotectResponse:
        """Protects the survivor of a failover."""
        driver, dry_run = self._groups.find(request.group), request.dry_run
        discard = Side(request.discard) if request.discard else None
        cost = await driver.reprotect(discard, dry_run=dry_run)
        change = role_change(cost, driver, dry_run=dry_run)
        return pb.ReprotectResponse(change=change, group=report(driver))

    async def Switchover(
        self,
        request: pb.SwitchoverRequest,
        context: Context,  # noqa: ARG002 - gRPC's signature
    ) -> pb.SwitchoverResponse:
        """Swaps the roles."""
        driver, dry_run = self._groups.find(request.group), request.dry_run
        cost = await driver.switch_over(dry_run=dry_run)
        change = role_change(cost, driver, dry_run=dry_run)
        return pb.SwitchoverResponse(change=change, group=report(driver))

    async def Failback(
        self,
        request: pb.FailbackRequest,
        context: Context,  # noqa: ARG002 - gRPC's signature
    ) -> pb.FailbackResponse:
        """Swaps the roles back."""
        driver, dry_run = self._groups.find(request.group), request.dry_run
        cost = await driver.fail_back(dry_run=dry_run)
        change = role_change(cost, driver, dry_run=dry_run)
        return pb.FailbackResponse(change=change, group=report(driver))

    async def StopReplication(
        self,
        request: pb.StopReplicationRequest,
        context: Context,  # noqa: ARG002 - gRPC's signature
    ) -> pb.StopReplicationResponse:
        """Ends replication."""
        driver = self._groups.find(request.group)
        await driver.stop(keep_latest=request.keep_latest)
        return pb.StopReplicationResponse(group=report(driver))

    async def PauseReplication(
        self,
        request: pb.PauseReplicationRequest,
        context: Context,  # noqa: ARG002 - gRPC's signature
    ) -> pb.PauseReplicationResponse:
        """Suspends automatic checkpoints."""
        driver = self._groups.find(request.group)
        await driver.pause()
        return pb.PauseReplicationResponse(group=report(driver))

    async def ResumeReplication(
        self,
        request: pb.ResumeReplicationRequest,
        context: Context,  # noqa: ARG002 - gRPC's signature
    ) -> pb.ResumeReplicationResponse:
        """Ends a pause or a stop."""
        driver = self._groups.find(request.group)
        await driver.resume(discard_secondary=request.discard_secondary)
        return pb.ResumeReplicationResponse(group=report(driver))

    async def GetGroup(
        self,
        request: pb.GetGroupRequest,
        context: Context,  # noqa: ARG002 - gRPC's signature
    ) -> pb.GetGroupResponse:
        """Reports one group."""
        return pb.GetGroupResponse(group=report(self._groups.find(request.group)))

    async def ListGroups(
        self,
        request: pb.ListGroupsRequest,  # noqa: ARG002 - gRPC's signature
        context: Context,  # noqa: ARG002 - gRPC's signature
    ) -> pb.ListGroupsResponse:
        """Reports all groups."""
        return pb.ListGroupsResponse(groups=self._reports())

    def _reports(self) -> list[pb.Group]:
        return [report(driver) for _, driver in sorted(self._groups.drivers.items())]

    async def WatchGroups(
        self,
        request: pb.WatchGroupsRequest,
        context: Context,  # noqa: ARG002 - gRPC's signature
    ) -> AsyncIterator[pb.WatchGroupsResponse]:
        """Reports all groups at an interval; its bound is what a watcher costs."""
        if not 0 <= request.interval_seconds <= _LONGEST_WATCH_SECONDS:
            raise Invalid(
                Reason.INVALID,
                f"interval_seconds {request.interval_seconds} must be 0 (the default)"
                f" to {_LONGEST_WATCH_SECONDS}",
            )
        with self._watching():
            while True:
                yield pb.WatchGroupsResponse(groups=self._reports())
                await asyncio.sleep(request.interval_seconds or _WATCH_SECONDS)
                await self._groups.changed.wait(_WATCH_SECONDS)

    async def WatchEvents(
        self,
        request: pb.WatchEventsRequest,
        context: Context,  # noqa: ARG002 - gRPC's signature
    ) -> AsyncIterator[pb.WatchEventsResponse]:
        """Says what changed; the store holds what a slow watcher has not taken yet."""
        if request.group:
            self._groups.find(request.group)
        with self._watching():
            events = self._groups.events
            async for dropped, found in follow(
                events, request.after_seq, request.group, go_on=request.follow
            ):
                yield pb.WatchEventsResponse(
                    events=[event(each) for each in found], dropped=dropped
                )

    async def Explain(
        self,
        request: pb.ExplainRequest,
        context: Context,  # noqa: ARG002 - gRPC's signature
    ) -> pb.ExplainResponse:
        """Says what is in the way."""
        driver = self._groups.find(request.group)
        verbs = [verb_conditions(*each) for each in explained(driver).items()]
        return pb.ExplainResponse(group=request.group, verbs=verbs)

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Counts a watcher; raises Exhausted where there are too many."""
        if self._watchers >= _MAX_WATCHERS:
            raise Exhausted(
                Reason.INVALID, f"{_MAX_WATCHERS} watchers are here; end one first"
            )
        self._watchers += 1
        try:
            yield
        finally:
            self._watchers -= 1

    async def ListCheckpoints(
        self,
        request: pb.ListCheckpointsRequest,
        context: Context,  # noqa: ARG002 - gRPC's signature
    ) -> pb.ListCheckpointsResponse:
        """Lists what failover can lead to."""
        driver = self._groups.find(request.group)
        return pb.ListCheckpointsResponse(checkpoints=await driver.checkpoints())

    async def Verify(
        self, request: pb.VerifyRequest, context: Context
    ) -> pb.VerifyResponse:
        """Compares both disks."""
        remaining = context.time_remaining() or _DEFAULT_DEADLINE
        driver = self._groups.find(request.group)
        timeout = max(remaining - 0.2, remaining / 2)
        report = await driver.verify(request.number, timeout)
        return pb.VerifyResponse(report=report)

    async def GrowVolume(
        self,
        request: pb.GrowVolumeRequest,
        context: Context,  # noqa: ARG002 - gRPC's signature
    ) -> pb.GrowVolumeResponse:
        """Makes a volume larger on both sides."""
        driver = self._groups.find(request.group)
        grown = await driver.grow(request.volume, request.size_bytes)
        return pb.GrowVolumeResponse(volume=grown)

    async def CreateGroup(
        self,
        request: pb.CreateGroupRequest,
        context: Context,  # noqa: ARG002 - gRPC's signature
    ) -> pb.CreateGroupResponse:
        """Adds a group and starts it."""
        spec = request.spec
        if not _NAME.fullmatch(spec.name):
            raise Invalid(
                Reason.INVALID,
                f"spec.name = {spec.name!r}: give 1 to 63 of a-z 0-9 . _ -",
            )
        record = GroupRecord(
            spec.name,
            _address("spec.primary_address", spec.primary_address),
            _address("spec.secondary_address", spec.secondary_address),
            policy_from(spec.policy) if spec.HasField("policy") else Policy(),
        )
        return pb.CreateGroupResponse(group=report(self._groups.create(record)))

    async def UpdateGroup(
        self,
        request: pb.UpdateGroupRequest,
        context: Context,  # noqa: ARG002 - gRPC's signature
    ) -> pb.UpdateGroupResponse:
        """Changes when checkpoints are taken."""
        driver = self._groups.find(request.group)
        if not request.HasField("policy"):
            raise Invalid(Reason.INVALID, "policy is missing; give all of its fields")
        await driver.set_policy(policy_from(request.policy))
        return pb.UpdateGroupResponse(group=report(driver))

    async def DeleteGroup(
        self,
        request: pb.DeleteGroupRequest,
        context: Context,  # noqa: ARG002 - gRPC's signature
    ) -> pb.DeleteGroupResponse:
        """Forgets a group."""
        await self._groups.delete(request.group)
        return pb.DeleteGroupResponse()


def _address(field: str, text: str) -> str:
    try:
        return str(Address.parse(text))
    except ValueError as error:
        raise Invalid(Reason.INVALID, f"{field}: {error}") from error


def policy_from(message: pb.CheckpointPolicy) -> Policy:
    """Decodes a policy; raises Invalid."""
    low, high = message.min_interval_seconds, message.max_interval_seconds
    target = message.rpo_target_seconds
    if not 0 <= target < math.inf:
        raise Invalid(
            Reason.INVALID,
            f"policy: rpo_target_seconds {target} must be at least 0 (0: none)",
        )
    in_range = 0 <= low < math.inf and 0 <= high < math.inf
    if not in_range or 0 < high < low:
        raise Invalid(
            Reason.INVALID,
            f"policy: min_interval_seconds {low} and max_interval_seconds {high} must"
            " be at least 0, and the second not below the first (or 0: never)",
        )
    return Policy(
        message.sent_bytes, message.buffer_high_water_bytes, low, high, target
    )
