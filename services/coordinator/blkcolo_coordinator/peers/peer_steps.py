"""Carries the steps of checkpoints, failovers and stops out, on both sides."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from blkcolo.errors import BlkcoloError
from blkcolo.v1 import types_pb2
from blkcolo_coordinator.peers.grpc_peers import StopMode
from blkcolo_coordinator.peers.node_views import FAILED_OVER
from blkcolo_coordinator.runs import checkpoint_run, failover_run

if TYPE_CHECKING:
    from collections.abc import Callable

    from blkcolo_coordinator.peers.pair import Pair
    from blkcolo_coordinator.runs.checkpoint_run import CheckpointRun
    from blkcolo_coordinator.runs.failover_run import FailoverRun
    from blkcolo_coordinator.settings import CoordinatorSettings


class PeerSteps:
    """What a group's driver has both sides do."""

    def __init__(
        self,
        pair: Pair,
        settings: CoordinatorSettings,
    ) -> None:
        """Takes both sides and the deadlines."""
        self._pair = pair
        self._settings = settings

    async def take_checkpoint(self, run: CheckpointRun) -> None:
        """Takes the run from where it is to its outcome."""
        while run.step is not None:
            await self.take_step(run, run.step)

    async def take_step(self, run: CheckpointRun, step: checkpoint_run.Step) -> None:
        """Takes the next step of the run; the run learns how it went."""
        began = time.monotonic()
        try:
            barrier_seq = await self._checkpoint_step(run, step)
        except BlkcoloError as error:
            run.failed(time.monotonic() - began, error)
        else:
            run.succeeded(time.monotonic() - began, barrier_seq)

    async def _checkpoint_step(
        self, run: CheckpointRun, step: checkpoint_run.Step
    ) -> int:
        epoch, generation = run.epoch, run.generation
        match step:
            case checkpoint_run.Step.PREPARE_PRIMARY:
                return await self._pair.primary.prepare(epoch, generation)
            case checkpoint_run.Step.PREPARE_SECONDARY:
                timeout = self._settings.prepare_timeout_seconds
                await self._pair.secondary.prepare(
                    epoch, generation, run.barrier_seq, timeout
                )
            case checkpoint_run.Step.DO_SECONDARY:
                await self._pair.secondary.do_checkpoint(epoch, generation)
            case checkpoint_run.Step.DO_PRIMARY:
                await self._pair.primary.do_checkpoint(epoch, generation)
        return 0

    async def fail_over(
        self, run: FailoverRun, generation: int, raise_generation: Callable[[], int]
    ) -> None:
        """Takes the run to its end, or to `run.error`.

        Args:
            run: the plan.
            generation: the one in force.
            raise_generation: stores a higher one, durably, and returns it.
        """
        while run.step is not None:
            try:
                match run.step:
                    case failover_run.Step.ASK_SECONDARY:
                        await self._ask_secondary(run, generation)
                    case failover_run.Step.RAISE_GENERATION:
                        generation = raise_generation()
                        run.generation_raised()
                    case failover_run.Step.FENCE_PRIMARY:
                        run.fence_answered(await self._fence(generation))
                    case failover_run.Step.STOP_SECONDARY:
                        await self._pair.secondary.stop(
                            generation,
                            StopMode.STOP_MODE_FAILOVER,
                            self._settings.stop_timeout_seconds,
                            run.epoch,
                        )
                        run.stopped()
            except BlkcoloError as error:
                run.fail(error)

    async def _ask_secondary(self, run: FailoverRun, generation: int) -> None:
        status = await self._pair.secondary.status()
        has_checkpoint = status.HasField("committed_epoch")
        entries = [] if run.epoch is None else await self._pair.secondary.checkpoints()
        kept = {entry.epoch: entry.committed_timestamp_seconds for entry in entries}
        if run.epoch is not None:
            run.committed_at = kept.get(run.epoch)
        run.secondary_answered(
            status.committed_epoch if has_checkpoint else None,
            kept,
            failed_over=status.state in FAILED_OVER,
            fenced=status.generation >= generation,
            discarded=status.discarded,
            stopped=status.state == types_pb2.REPLICA_STATE_STOPPED,
        )

    async def fail_over_secondary(self, generation: int) -> None:
        """Makes the secondary's disk the VM's; again, a paused flush goes on."""
        timeout = self._settings.stop_timeout_seconds
        await self._pair.secondary.stop(
            generation, StopMode.STOP_MODE_FAILOVER, timeout
        )

    async def _fence(self, generation: int) -> BlkcoloError | None:
        try:
            await self._pair.primary.fence(generation)
        except BlkcoloError as error:
            return error
        return None

    async def stop(self, generation: int, *, keep_latest: bool) -> BlkcoloError | None:
        """Ends replication on both sides; returns why the primary did not end it.

        Raises:
            BlkcoloError: the secondary did not end it; calling again goes on.
        """
        timeout = self._settings.stop_timeout_seconds
        unstopped: BlkcoloError | None = None
        try:
            await self._pair.primary.stop(generation, drain=True, timeout=timeout)
        except BlkcoloError as error:
            unstopped = error
        mode = (
            StopMode.STOP_MODE_KEEP_LATEST
            if keep_latest
            else StopMode.STOP_MODE_ROLLBACK
        )
        await self._pair.secondary.stop(generation, mode, timeout)
        return unstopped
