"""What a damaged undo layer costs: kept checkpoints, the stream; never a failover."""

from __future__ import annotations

from blkcolo.errors import DataLoss, Reason
from blkcolo_secondary.buffer.save_and_write import Sync
from blkcolo_secondary.core.replica_options import ReplicaOptions
from blkcolo_secondary.core.replica_state import ReplicaState
from blkcolo_secondary.core.stop_plan import StopMode
from blkcolo_secondary.record.history import HistoryPolicy
from tests.secondary_core import SIZE, Secondary

DAMAGE = DataLoss(Reason.DISK_ERROR, "undo is damaged")
KEEP = ReplicaOptions(reserve_bytes=4096, history=HistoryPolicy(keep=3))


def with_four_checkpoints() -> tuple[Secondary, list[int], list[bytes]]:
    secondary = Secondary(1, host=False)
    secondary.options = KEEP
    secondary.start()
    secondary.connect()
    contents = [bytes([number]) * SIZE for number in range(1, 5)]
    epochs = [secondary.commit(content) for content in contents]
    return secondary, epochs, contents


def test_kept_checkpoints_before_it_are_given_up_and_later_ones_stay() -> None:
    secondary, epochs, contents = with_four_checkpoints()
    replica = secondary.replica
    replica.checkpoints.layer_damaged(epochs[1], DAMAGE)
    assert [kept.epoch for kept in replica.checkpoints.available] == epochs[1:]
    assert replica.state is ReplicaState.RECEIVING
    seen = bytearray(SIZE)
    replica.buffer.read_into(0, 0, memoryview(seen), at=epochs[1])
    assert seen == contents[1]


def test_stream_faults_where_it_leads_back_to_the_last_checkpoint() -> None:
    secondary, epochs, _ = with_four_checkpoints()
    replica = secondary.replica
    replica.checkpoints.layer_damaged(epochs[-1] + 1, DAMAGE)
    assert replica.state is ReplicaState.FAULTED
    assert replica.failure is DAMAGE
    assert [kept.epoch for kept in replica.checkpoints.available] == epochs


def test_commit_that_would_keep_such_a_layer_gives_up_what_rests_on_it() -> None:
    secondary, epochs, contents = with_four_checkpoints()
    secondary.replica.checkpoints.layer_damaged(epochs[-1] + 1, DAMAGE)
    secondary.connect()
    committed = secondary.commit(contents[0])
    left = [kept.epoch for kept in secondary.replica.checkpoints.available]
    assert left == [committed]


def test_failover_under_way_keeps_the_layers_that_it_undoes() -> None:
    secondary, epochs, contents = with_four_checkpoints()
    replica = secondary.replica
    replica.stop(StopMode.FAILOVER, 1, epochs[0])
    replica.checkpoints.layer_damaged(epochs[2], DAMAGE)
    for step in replica.flush_steps():
        if isinstance(step, Sync):
            step.run()
    assert bytes(secondary.machine.images[0].content) == contents[0]
