"""The queue of one stream: who is woken for what."""

from __future__ import annotations

import pytest

from blkcolo.stream import Batch
from blkcolo_primary.core.outbox import Outbox

_BLOCK = memoryview(bytes(range(256)) * 16)


@pytest.fixture
def outbox() -> Outbox:
    return Outbox(epoch=5, batch_bytes=4 * len(_BLOCK))


def test_a_write_that_joins_a_batch_is_no_news(outbox: Outbox) -> None:
    assert not outbox.has_news()
    outbox.data(0, 0, _BLOCK)
    assert outbox.has_news()
    outbox.data(0, 4096, _BLOCK)
    assert not outbox.has_news()
    assert not outbox.urgent


def test_a_full_batch_and_a_barrier_are_urgent_news(outbox: Outbox) -> None:
    outbox.data(0, 0, _BLOCK)
    assert outbox.has_news()
    for number in range(4):
        outbox.data(0, number * 4096, _BLOCK)
    assert outbox.urgent
    assert outbox.has_news()
    outbox.take()
    outbox.take()
    assert outbox.empty
    outbox.barrier()
    assert outbox.urgent
    assert outbox.has_news()


def test_after_a_batch_left_the_next_write_is_news_again(outbox: Outbox) -> None:
    outbox.data(0, 0, _BLOCK)
    assert outbox.has_news()
    taken = outbox.take()
    assert taken is not None
    assert isinstance(taken[1], Batch)
    outbox.data(0, 0, _BLOCK)
    assert outbox.has_news()
