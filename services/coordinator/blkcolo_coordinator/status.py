"""A group as the wire reports it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

from blkcolo.rpc.errors import failure_message
from blkcolo.v1 import coordinator_pb2 as pb
from blkcolo.v1 import types_pb2
from blkcolo_coordinator.runs.checkpoint_run import CheckpointRun, Step

if TYPE_CHECKING:
    from collections.abc import Iterable

    from blkcolo_coordinator.core.explain import Condition, Verb
    from blkcolo_coordinator.core.policy import Policy
    from blkcolo_coordinator.record.event_table import Numbered
    from blkcolo_coordinator.runs.roles import Cost
    from blkcolo_coordinator.runtime.group_driver import GroupDriver


def report(driver: GroupDriver) -> pb.Group:
    """Everything that GetGroup says of a group."""
    record, age = driver.record, driver.recovery_point_age
    group = pb.Group(
        spec=pb.GroupSpec(
            name=record.name,
            primary_address=record.primary_address,
            secondary_address=record.secondary_address,
            policy=_policy(record.policy),
        ),
        state=cast("types_pb2.GroupState.ValueType", int(record.state)),
        generation=record.generation,
        paused=record.paused,
        committed_epoch=record.committed,
        committed_timestamp_seconds=record.committed_at,
        recovery_point_timestamp_seconds=time.time() - age if age is not None else 0.0,
        recovery_point_age_seconds=age,
        committed_age_seconds=driver.committed_age,
        last_trigger=record.trigger_name,
        primary=driver.sides.primary,
        secondary=driver.sides.secondary,
        primary_address=record.primary_now,
        secondary_address=record.secondary_now,
        reversed=record.reversed,
    )
    if driver.last_run is not None:
        group.last_checkpoint.CopyFrom(timings(driver.last_run))
    if driver.failure is not None:
        group.failure.CopyFrom(failure_message(driver.failure))
    return group


def role_change(cost: Cost, driver: GroupDriver, *, dry_run: bool) -> pb.RoleChange:
    """What a change of roles costs, or would cost."""
    there = driver.sides.secondary if dry_run else driver.sides.primary
    return pb.RoleChange(
        loser=cast("pb.Side.ValueType", int(cost.loser or 0)),
        loser_address=cost.address,
        lost_seconds=cost.seconds,
        lost_bytes=cost.lost_bytes,
        compared_bytes=cost.compared_bytes,
        nbd_uris=there.nbd_uris if there is not None else [],
        dry_run=dry_run,
    )


def event(numbered: Numbered) -> pb.Event:
    """One change."""
    found = numbered.event
    return pb.Event(
        seq=numbered.seq,
        timestamp_seconds=found.moment.at,
        group=found.moment.group,
        kind=cast("pb.EventKind.ValueType", int(found.kind)),
        reason=cast("types_pb2.Reason.ValueType", int(found.reason)),
        message=found.message,
        epoch=found.moment.epoch,
        generation=found.moment.generation,
        before=found.before,
        after=found.after,
    )


def verb_conditions(verb: Verb, conditions: Iterable[Condition]) -> pb.VerbConditions:
    """What a verb needs."""
    found = [
        pb.Condition(
            name=each.name,
            holds=each.holds,
            message=each.sentence,
            command=each.command,
        )
        for each in conditions
    ]
    possible = all(each.holds for each in found)
    return pb.VerbConditions(verb=verb, possible=possible, conditions=found)


def timings(run: CheckpointRun) -> pb.CheckpointTimings:
    """How long a checkpoint took."""
    return pb.CheckpointTimings(
        prepare_primary_seconds=run.seconds.get(Step.PREPARE_PRIMARY, 0.0),
        prepare_secondary_seconds=run.seconds.get(Step.PREPARE_SECONDARY, 0.0),
        do_secondary_seconds=run.seconds.get(Step.DO_SECONDARY, 0.0),
        do_primary_seconds=run.seconds.get(Step.DO_PRIMARY, 0.0),
        total_seconds=run.total_seconds,
    )


def _policy(policy: Policy) -> pb.CheckpointPolicy:
    return pb.CheckpointPolicy(
        sent_bytes=policy.sent_bytes,
        buffer_high_water_bytes=policy.buffer_high_water_bytes,
        min_interval_seconds=policy.min_interval_seconds,
        max_interval_seconds=policy.max_interval_seconds,
        rpo_target_seconds=policy.rpo_target_seconds,
    )
