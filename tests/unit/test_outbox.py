"""The queue of one stream: who is woken for what, and when its window is full."""

from __future__ import annotations

import pytest

from blkcolo.stream import Ack, Batch, RecordKind
from blkcolo_primary.core.outbox import RECORD_BYTES, Outbox
from blkcolo_primary.core.window import Window

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


def test_writes_fill_the_window_until_the_secondary_has_applied_them(
    outbox: Outbox,
) -> None:
    window = Window(1 << 20, 6)
    outbox.data_each(0, [0, 4096, 8192], [_BLOCK] * 3)
    outbox.data(0, 0, _BLOCK)
    outbox.zero(0, 0, 1 << 30, RecordKind.ZERO)
    outbox.barrier()  # no write
    assert not outbox.fills(window)
    outbox.zero(0, 0, 4096, RecordKind.TRIM)
    assert outbox.fills(window)
    outbox.acknowledge(Ack(received=2, applied=2, durable=1))
    assert outbox.in_flight_writes == 2  # the batch of four data records is applied
    assert not outbox.fills(window)


def test_bytes_fill_the_window_though_few_writes_are_in_flight(
    outbox: Outbox,
) -> None:
    window = Window(2 * (len(_BLOCK) + RECORD_BYTES))
    outbox.data(0, 0, _BLOCK)
    assert outbox.fills(window.half)
    assert not outbox.fills(window)
    outbox.data(0, 0, _BLOCK)
    assert outbox.fills(window)


def test_a_full_window_ends_the_protection_only_by_bytes_or_as_it_was_told() -> None:
    assert Window.chosen(4096, None, throttles=True) == Window(4096, 1024)
    assert Window.chosen(4096, None, throttles=False) == Window(4096)
    assert Window.chosen(4096, 64, throttles=False) == Window(4096, 64)
