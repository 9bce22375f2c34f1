"""Both sides hold a look back until there is something to do, and tell that at once.

At once: long before the time that the look may take, which is a minute here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from blkcolo.v1 import node_pb2, node_pb2_grpc, primary_pb2, secondary_pb2, types_pb2
from tests.nbd_client import NbdClient
from tests.stack import MIB, PROTECTED, Stack, running, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

LONG = 60.0
BEAT = 0.02
BLOCK = 4096


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A protected group that no coordinator looks at: these looks are the only ones."""
    folder = tmp_path_factory.mktemp("watches")
    with running(folder, sizes=(8 * MIB,), secondary_vm=True) as stack:
        write(stack, MIB, MIB)  # what is overwritten is no hole
        stack.checkpoint()
        stack.stop("coordinator")
        yield stack


def forward_watch(stack: Stack, **acts_on: Any) -> Any:
    """What a coordinator asks of the primary that has just looked at it."""
    status = stack.primary_status()
    return primary_pb2.PrimaryServiceGetStatusRequest(
        group="vm1",
        watch=primary_pb2.ForwardWatch(
            **{
                "seconds": LONG,
                "beat_seconds": BEAT,
                "generation": status.generation,
                "epoch": status.epoch,
                **acts_on,
            }
        ),
    )


def replica_watch(stack: Stack, **acts_on: Any) -> Any:
    generation = stack.secondary_status().generation
    return secondary_pb2.SecondaryServiceGetStatusRequest(
        group="vm1",
        watch=secondary_pb2.ReplicaWatch(
            **{
                "seconds": LONG,
                "beat_seconds": BEAT,
                "generation": generation,
                **acts_on,
            }
        ),
    )


def ask(stub: Any, request: Any) -> Any:
    return stub.GetStatus.future(request, timeout=2 * LONG)


def answer(look: Any) -> Any:
    return look.result(LONG / 2)


def write(stack: Stack, offset: int, length: int, side: str = "primary") -> None:
    with NbdClient(stack.nbd[side], "disk0") as vm:
        vm.write(offset, b"w" * length)


def test_the_primary_answers_when_so_many_bytes_are_sent_and_not_before(
    stack: Stack,
) -> None:
    before = stack.primary_status().sent_bytes_in_epoch
    wanted = before + 4 * BLOCK
    look = ask(stack.primary, forward_watch(stack, sent_bytes=wanted))
    for number in range(4):
        assert not look.done()
        write(stack, number * BLOCK, BLOCK)
    told = answer(look)
    assert told.due
    assert told.groups[0].sent_bytes_in_epoch == wanted


def test_the_secondary_answers_when_its_buffer_holds_so_many_bytes(
    stack: Stack,
) -> None:
    before = stack.secondary_status().buffer_bytes
    request = replica_watch(stack, buffer_bytes=before + MIB)
    look = ask(stack.secondary, request)
    assert not look.done()
    write(stack, MIB, MIB)
    told = answer(look)
    assert told.due
    assert told.groups[0].buffer_bytes >= before + MIB


def test_what_is_there_already_is_answered_at_once(stack: Stack) -> None:
    write(stack, 0, BLOCK)
    for acts_on in ({"written": True}, {"sent_bytes": 1}, {"epoch": 999}):
        assert answer(ask(stack.primary, forward_watch(stack, **acts_on))).due
    wait_until(lambda: stack.secondary_status().buffer_bytes > 0, "it is saved")
    for acts_on in ({"buffer_bytes": 1}, {"generation": 999}):
        assert answer(ask(stack.secondary, replica_watch(stack, **acts_on))).due


def test_the_secondary_answers_when_its_vm_writes(stack: Stack) -> None:
    look = ask(stack.secondary, replica_watch(stack, written=True))
    assert not look.done()
    write(stack, 0, BLOCK, "secondary")
    told = answer(look)
    assert told.due
    assert told.groups[0].overlay_bytes > 0


def test_the_end_of_the_time_is_told_from_something_to_do(stack: Stack) -> None:
    for stub, request in (
        (stack.primary, forward_watch(stack, seconds=0.2)),
        (stack.secondary, replica_watch(stack, seconds=0.2)),
    ):
        told = answer(ask(stub, request))
        assert told.HasField("due")
        assert not told.due


def test_a_look_without_a_watch_says_nothing_of_one(stack: Stack) -> None:
    request = primary_pb2.PrimaryServiceGetStatusRequest(group="vm1")
    assert not stack.primary.GetStatus(request, timeout=LONG).HasField("due")


def test_a_newer_look_takes_the_place_of_an_older_one(stack: Stack) -> None:
    """It is told to look again: nothing is watched for it any more."""
    for stub, watch in (
        (stack.primary, forward_watch),
        (stack.secondary, replica_watch),
    ):
        looks = [ask(stub, watch(stack)) for _ in range(3)]
        newest = ask(stub, watch(stack, seconds=LONG + 1))
        assert all(answer(look).due for look in looks)
        assert not newest.done()
        newest.cancel()


@pytest.mark.parametrize("beat", [100.0, math.inf])
def test_no_look_is_held_for_longer_than_its_caller_waits_whatever_its_beat(
    stack: Stack, beat: float
) -> None:
    for stub, watch in (
        (stack.primary, forward_watch),
        (stack.secondary, replica_watch),
    ):
        request = watch(stack, seconds=math.inf, beat_seconds=beat)
        assert not stub.GetStatus(request, timeout=1.0).due


def test_a_look_that_is_held_holds_up_none_that_came_with_it(stack: Stack) -> None:
    calls = [node_pb2.GroupCall(), node_pb2.GroupCall()]
    calls[0].primary_status.CopyFrom(forward_watch(stack))
    calls[1].primary_status.group = "vm1"
    with grpc.insecure_channel(stack.address("primary")) as channel:
        node = node_pb2_grpc.NodeServiceStub(channel)
        told = node.CallMany(node_pb2.CallManyRequest(calls=calls), timeout=2 * LONG)
        first = next(told)
        assert [each.place for each in first.answers] == [1]
        newer = ask(stack.primary, forward_watch(stack, seconds=0.1))
        assert [each.place for each in next(told).answers] == [0]
        assert not answer(newer).due


def test_a_watch_of_no_group_is_refused(stack: Stack) -> None:
    for stub, request in (
        (stack.primary, forward_watch(stack)),
        (stack.secondary, replica_watch(stack)),
    ):
        request.group = ""
        with pytest.raises(grpc.RpcError, match="name it, or leave") as refusal:
            stub.GetStatus(request, timeout=LONG)
        assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_both_sides_answer_when_the_stream_is_lost_and_when_they_stop(
    tmp_path: Path,
) -> None:
    with running(tmp_path, sizes=(MIB,)) as stack:
        stack.stop("coordinator")
        primary = ask(stack.primary, forward_watch(stack))
        secondary = ask(stack.secondary, replica_watch(stack))
        stack.secondary_status()  # it has come in by then
        stack.stop("secondary")
        with pytest.raises(grpc.RpcError, match="stops"):
            answer(secondary)
        told = answer(primary)
        assert told.due
        assert told.groups[0].state == types_pb2.FORWARD_STATE_LOST
        stack.start("secondary", "coordinator")
        stack.wait_state(PROTECTED)
        stack.stop("coordinator")
        secondary = ask(stack.secondary, replica_watch(stack))
        stack.secondary_status()
        stack.kill("primary")
        told = answer(secondary)
        assert told.due
        assert told.groups[0].state == types_pb2.REPLICA_STATE_DISCONNECTED


def test_a_checkpoint_is_taken_as_soon_as_enough_is_sent_whatever_the_interval(
    tmp_path: Path,
) -> None:
    with running(
        tmp_path, sizes=(8 * MIB,), policy_options=f"sent_bytes = {MIB}\n"
    ) as stack:
        for number in range(3):
            before = stack.group().committed_epoch
            write(stack, number * MIB, MIB)

            def newer(than: int = before) -> bool:
                return int(stack.group().committed_epoch) > than

            wait_until(newer, "by its bytes")
            assert stack.group().last_trigger == "sent_bytes"
