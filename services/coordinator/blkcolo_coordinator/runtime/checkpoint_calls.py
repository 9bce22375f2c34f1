"""Callers that wait for a checkpoint which begins after their call."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blkcolo.errors import BlkcoloError
    from blkcolo_coordinator.runs.checkpoint_run import CheckpointRun


class CheckpointCalls:
    """A set of calls that one checkpoint answers; a caller may give up."""

    def __init__(self) -> None:
        """Nobody waits."""
        self._answers: list[asyncio.Future[CheckpointRun]] = []

    @property
    def waiting(self) -> bool:
        """True if somebody waits."""
        return any(not answer.done() for answer in self._answers)

    def add(self) -> asyncio.Future[CheckpointRun]:
        """One more caller; what it waits for."""
        self._answers = [answer for answer in self._answers if not answer.done()]
        answer: asyncio.Future[CheckpointRun] = (
            asyncio.get_running_loop().create_future()
        )
        self._answers.append(answer)
        return answer

    def take(self) -> CheckpointCalls:
        """Those who wait now: for them the checkpoint begins that starts now."""
        taken = CheckpointCalls()
        taken._answers, self._answers = self._answers, []
        return taken

    def put_back(self, taken: CheckpointCalls) -> None:
        """The checkpoint of those that were taken did not begin: they wait again."""
        self._answers += taken._answers

    def answer(self, run: CheckpointRun) -> None:
        """Their checkpoint is committed."""
        for answer in self._answers:
            if not answer.done():
                answer.set_result(run)

    def refuse(self, error: BlkcoloError) -> None:
        """There will be none."""
        answers, self._answers = self._answers, []
        for answer in answers:
            if not answer.done():
                answer.set_exception(error)
