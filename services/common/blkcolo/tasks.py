"""Tasks that end together."""

from __future__ import annotations

import asyncio
from typing import Any


async def until_first(*tasks: asyncio.Task[Any], timeout: float | None = None) -> bool:
    """Waits until one of the tasks ends, then ends all; raises what it raised.

    Args:
        tasks: at least one; nobody else waits for them.
        timeout: seconds; None: for ever.

    Returns:
        False when the timeout passed first.
    """
    try:
        done, _ = await asyncio.wait(
            tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
        )
        for task in done:
            task.result()
        return bool(done)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
