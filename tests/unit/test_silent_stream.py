"""A stream that is opened and says nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

from blkcolo.errors import DeadlineMissed
from blkcolo_secondary import servicer
from blkcolo_secondary.servicer import SecondaryServicer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def silence() -> AsyncIterator[bytes]:
    await asyncio.sleep(60)
    yield b""


def test_stream_without_a_hello_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servicer, "_HELLO_SECONDS", 0.05)

    async def scenario() -> None:
        service = SecondaryServicer(Mock(), str)
        answers = service.WriteForward(silence(), Mock())
        with pytest.raises(DeadlineMissed, match="no hello"):
            async with asyncio.timeout(5):
                await anext(answers)

    asyncio.run(scenario())
