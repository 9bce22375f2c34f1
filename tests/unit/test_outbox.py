"""The queue of one stream: who is woken for what, and when its window is full."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blkcolo.stream import Ack, Batch, Flush, RecordKind, extend_digest
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


_STEP = st.one_of(
    st.tuples(st.just("write"), st.integers(1, 5 * 4096)),
    st.tuples(st.just("burst"), st.integers(1, 200)),
    st.tuples(st.just("zero"), st.integers(1, 1 << 40)),
    st.tuples(st.sampled_from(["barrier", "flush", "send", "apply"]), st.just(0)),
)


@given(st.lists(_STEP, max_size=60))
def test_what_is_in_flight_is_what_is_not_applied_and_nothing_when_all_is(
    steps: list[tuple[str, int]],
) -> None:
    outbox, block = Outbox(epoch=0, batch_bytes=3 * 4096), memoryview(bytes(5 * 4096))
    sent, applied = {}, 1  # the records of each message
    for kind, size in (*steps, *[("send", 0)] * 999, ("apply", 0)):
        match kind:
            case "write":
                outbox.data(0, 0, block[:size])
            case "burst":
                outbox.data_each(0, [0] * size, [block[:64]] * size)
            case "zero":
                outbox.zero(0, 0, size, RecordKind.ZERO)
            case "barrier":
                outbox.barrier()
            case "flush":
                outbox.control(Flush())
            case "send" if taken := outbox.take():
                seq, message = taken
                sent[seq] = len(message.kinds) if isinstance(message, Batch) else 0
            case "apply":
                applied = max(sent, default=1)
                outbox.acknowledge(Ack(applied, applied, 1))
            case _:
                pass  # nothing waits to be sent
        under_way = sum(count for seq, count in sent.items() if seq > applied)
        assert outbox.in_flight_writes >= under_way
    assert outbox.drained
    assert outbox.in_flight_writes == outbox.in_flight_bytes == 0
    assert outbox.unapplied_data_bytes == outbox.unapplied_covered_bytes == 0


def test_repairs_share_no_batch_with_writes_and_are_told_apart_by_the_digest(
    outbox: Outbox,
) -> None:
    outbox.data(0, 0, _BLOCK)
    with outbox.repairs():
        outbox.data(0, 4096, _BLOCK)
        outbox.zero(0, 8192, 4096, RecordKind.TRIM)
    outbox.data(0, 4096, _BLOCK)
    batches = [
        message for _, message in iter(outbox.take, None) if isinstance(message, Batch)
    ]
    assert [batch.repairs for batch in batches] == [False, True, False]
    assert [len(batch.kinds) for batch in batches] == [1, 2, 1]
    digest = extend_digest(batches[0].digest, batches[1])
    assert digest == batches[1].digest
    batches[1].repairs = False
    assert extend_digest(batches[0].digest, batches[1]) != digest
