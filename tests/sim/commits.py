"""The commits of a simulated secondary: a step at a time, what is to last in between.

Real: the steps of a commit, and what may be removed behind it. Stands in for the edge
that carries out the syncs between them, and removes files on another thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from blkcolo.errors import BlkcoloError, from_os_error

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from blkcolo_secondary.buffer.save_and_write import Sync
    from tests.sim.secondary_node import SecondaryNode

    _Steps = Generator[Sync, None, Any]


class Commits:
    """The commits of one life of a secondary."""

    def __init__(self, node: SecondaryNode) -> None:
        self._node = node
        self._world = node.world
        self._side = node.side

    def begin(self, epoch: int, generation: int, answer: Callable[..., None]) -> None:
        """Takes the steps of one; the answer comes behind the last of them."""
        checkpoints, now = self._node.replica.checkpoints, self._world.clock.now
        steps = checkpoints.commit_steps(epoch, generation, now)
        self._world.faults.moment(self._node.name)
        self._go_on(generation, steps, answer)

    def _go_on(
        self,
        generation: int,
        steps: _Steps,
        answer: Callable[..., None],
        recorded_in: int | None = None,
    ) -> None:
        """The next step; the record is written in the last but one, or the only one.

        Args:
            generation: the caller's.
            steps: of the commit.
            answer: takes what comes of it.
            recorded_in: the side's `copies` in the step before; None: there was none.
        """
        copy = self._side.copies
        try:
            sync = next(steps)
        except BlkcoloError as error:
            answer(error)
        except StopIteration as end:
            if recorded_in is None:  # otherwise it was admitted before that
                self._side.admitted(generation)
                recorded_in = copy
            self._committed(end.value.epoch, recorded_in)
            answer(end.value)
            self._later(self.sweep)
        else:
            self._side.admitted(generation)
            self._later(lambda: carry_out(sync))

        def carry_out(sync: Sync) -> None:
            try:
                sync.run()
            except OSError as error:
                answer(from_os_error(error, "syncing"))
            except BlkcoloError as error:
                answer(error)
            else:
                self._go_on(generation, steps, answer, copy)

    def _committed(self, epoch: int, recorded_in: int) -> None:
        """A stop may have given the checkpoint up since; its number stays."""
        holds = self._node.replica.journal.state.committed or 0
        self._node.say(f"commits {epoch}")
        self._world.tally["commit"] += 1
        oracle = self._world.oracle
        oracle.commit_answered(self._node.name, epoch, holds, recorded_in)

    def sweep(self) -> None:
        """Removes what was dropped, on another thread: some time later."""
        dropped = self._node.replica.dropped.take()
        if not dropped:
            return

        def remove() -> None:
            try:
                dropped.close()
                dropped.remove()
            except OSError as error:
                self._node.say(f"dropped files stay until the next start: {error}")

        self._later(remove)

    def _later(self, work: Callable[[], None]) -> None:
        self._world.later(self._node.name, self._node.work_time(), work)
