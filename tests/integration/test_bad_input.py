"""Each wrong input gets one clear error, and nothing is lost or half done."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any, cast

import google_crc32c
import grpc
import pytest

from blkcolo.rpc.errors import to_domain
from blkcolo.rpc.stream_on_wire import message_checksum
from blkcolo.stream import PROTOCOL_VERSION, Batch, extend_digest
from blkcolo.v1 import coordinator_pb2 as pb
from blkcolo.v1 import primary_pb2, secondary_pb2, stream_pb2, types_pb2
from tests.nbd_client import NbdClient
from tests.stack import MIB, ODD_SIZE, Stack, running, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.integration

_CRC = google_crc32c.value(b"abcd")
_COLUMNS = ("kinds", "volumes", "offsets", "lengths", "checksums")
Prepare = secondary_pb2.SecondaryServicePrepareCheckpointRequest
Do = secondary_pb2.SecondaryServiceDoCheckpointRequest


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("bad")) as stack:
        stack.pause()
        yield stack


def refused(call: Any, request: Any) -> tuple[str, str, str]:
    """Status code, ErrorInfo reason and text of a call that must fail."""
    with pytest.raises(grpc.RpcError) as refusal:
        call(request, timeout=5)
    error = to_domain(cast("Any", refusal.value), "peer")
    return refusal.value.code().name, error.reason.name, str(error)


def test_wrong_group_is_not_found_and_the_known_ones_named(stack: Stack) -> None:
    for call, request in (
        (stack.primary.GetStatus, primary_pb2.PrimaryServiceGetStatusRequest),
        (stack.secondary.GetStatus, secondary_pb2.SecondaryServiceGetStatusRequest),
        (stack.coordinator.Checkpoint, pb.CheckpointRequest),
    ):
        code, reason, text = refused(call, request(group="other"))
        assert (code, reason) == ("NOT_FOUND", "WRONG_GROUP")
        assert "vm1" in text


def test_stale_and_unknown_generations_are_refused_everywhere(stack: Stack) -> None:
    epoch = stack.primary_status().epoch
    prepare = primary_pb2.PrimaryServicePrepareCheckpointRequest
    for generation, reason in ((0, "STALE_GENERATION"), (9, "UNKNOWN_GENERATION")):
        fields: Any = {"group": "vm1", "generation": generation, "epoch": epoch}
        for call, request in (
            (stack.primary.PrepareCheckpoint, prepare(**fields)),
            (
                stack.primary.DoCheckpoint,
                primary_pb2.PrimaryServiceDoCheckpointRequest(**fields),
            ),
            (stack.secondary.PrepareCheckpoint, Prepare(**fields)),
            (stack.secondary.DoCheckpoint, Do(**fields)),
        ):
            assert refused(call, request)[:2] == ("FAILED_PRECONDITION", reason)


def test_epoch_gap_names_the_expected_epoch(stack: Stack) -> None:
    epoch = stack.primary_status().epoch
    far: Any = {"group": "vm1", "generation": 1, "epoch": epoch + 7}
    prepare = primary_pb2.PrimaryServicePrepareCheckpointRequest(**far)
    for call, request in (
        (stack.primary.PrepareCheckpoint, prepare),
        (stack.secondary.PrepareCheckpoint, Prepare(**far)),
    ):
        code, reason, text = refused(call, request)
        assert (code, reason) == ("FAILED_PRECONDITION", "EPOCH_GAP")
        assert f"{epoch} is the current one" in text
    code, reason, _ = refused(stack.secondary.DoCheckpoint, Do(**far))
    assert (code, reason) == ("FAILED_PRECONDITION", "NOT_PREPARED")


def test_prepare_without_a_barrier_fails_at_the_deadline_with_what_is_missing(
    stack: Stack,
) -> None:
    epoch = stack.primary_status().epoch
    request = Prepare(group="vm1", generation=1, epoch=epoch, barrier_seq=10**6)
    with pytest.raises(grpc.RpcError) as refusal:
        stack.secondary.PrepareCheckpoint(request, timeout=1)
    assert refusal.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert "messages up to the barrier are still missing" in str(
        refusal.value.details()
    )


def test_start_twice_is_refused(stack: Stack) -> None:
    request = primary_pb2.StartReplicationRequest(
        group="vm1", generation=1, secondary_address=stack.address("secondary")
    )
    code, reason, text = refused(stack.primary.StartReplication, request)
    assert (code, reason) == ("FAILED_PRECONDITION", "ALREADY_REPLICATING")
    assert "IDLE or LOST" in text


def test_group_specs_and_policies_are_checked_by_field(stack: Stack) -> None:
    create, service = pb.CreateGroupRequest, stack.coordinator
    good: Any = {"primary_address": "127.0.0.1:1", "secondary_address": "127.0.0.1:2"}
    spec = pb.GroupSpec(name="Bad Name", **good)
    assert "spec.name" in refused(service.CreateGroup, create(spec=spec))[2]
    spec = pb.GroupSpec(name="g", primary_address="nowhere")
    assert "spec.primary_address" in refused(service.CreateGroup, create(spec=spec))[2]
    spec = pb.GroupSpec(name="vm1", **good)
    code, reason, _ = refused(service.CreateGroup, create(spec=spec))
    assert (code, reason) == ("ALREADY_EXISTS", "GROUP_EXISTS")
    policy = pb.CheckpointPolicy(min_interval_seconds=2, max_interval_seconds=1)
    update = pb.UpdateGroupRequest(group="vm1", policy=policy)
    assert refused(service.UpdateGroup, update)[0] == "INVALID_ARGUMENT"
    delete = pb.DeleteGroupRequest(group="vm1")
    assert "stop it first" in refused(service.DeleteGroup, delete)[2]


def hello(stack: Stack, **changes: Any) -> stream_pb2.WriteForwardRequest:
    status = stack.secondary_status()
    fields: dict[str, Any] = {
        "protocol_version": PROTOCOL_VERSION,
        "group": "vm1",
        "generation": status.generation,
        "volumes": status.volumes,
        **changes,
    }
    return stream_pb2.WriteForwardRequest(seq=1, hello=stream_pb2.Hello(**fields))


def batch(seq: int, **changes: Any) -> stream_pb2.WriteForwardRequest:
    fields: dict[str, Any] = {
        "epoch": 0,
        "kinds": [stream_pb2.RECORD_KIND_DATA],
        "volumes": [0],
        "offsets": [0],
        "lengths": [4],
        "checksums": [_CRC],
        "payload": b"abcd",
        **changes,
    }
    columns = Batch(0, **{name: fields[name] for name in _COLUMNS})
    fields.setdefault("digest", extend_digest(0, columns))
    return stream_pb2.WriteForwardRequest(seq=seq, batch=stream_pb2.Batch(**fields))


def verify(**fields: Any) -> stream_pb2.WriteForwardRequest:
    message = stream_pb2.Verify(extents=[stream_pb2.VerifyExtent(**fields)])
    return stream_pb2.WriteForwardRequest(
        seq=2, verify=message, checksum=message_checksum(message, 2)
    )


def barrier(**fields: Any) -> stream_pb2.WriteForwardRequest:
    message = stream_pb2.Barrier(**fields)
    return stream_pb2.WriteForwardRequest(
        seq=2, barrier=message, checksum=message_checksum(message, 2)
    )


@pytest.fixture
def lone_secondary(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(tmp_path)
    try:
        stack.start("secondary")
        yield stack
    finally:
        stack.close()


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (batch(3), types_pb2.REASON_SEQUENCE_GAP),
        (batch(1), types_pb2.REASON_SEQUENCE_GAP),
        (batch(2, epoch=4), types_pb2.REASON_EPOCH_GAP),
        (batch(2, checksums=[1]), types_pb2.REASON_CHECKSUM),
        (batch(2, offsets=[ODD_SIZE - 3]), types_pb2.REASON_OUT_OF_RANGE),
        (batch(2, offsets=[2**64 - 2]), types_pb2.REASON_OUT_OF_RANGE),
        (batch(2, volumes=[1]), types_pb2.REASON_INVALID),
        (batch(2, kinds=[7]), types_pb2.REASON_INVALID),
        (batch(2, offsets=[0, 1]), types_pb2.REASON_INVALID),
        (batch(2, payload=b"abcdef"), types_pb2.REASON_INVALID),
        (stream_pb2.WriteForwardRequest(seq=2), types_pb2.REASON_PROTOCOL_VERSION),
        (batch(2, digest=1), types_pb2.REASON_DIGEST_MISMATCH),
        (
            barrier(epoch=0, records=5, digest=1),
            types_pb2.REASON_DIGEST_MISMATCH,
        ),
        (
            stream_pb2.WriteForwardRequest(
                seq=2, verify=stream_pb2.Verify(complete=True), checksum=1
            ),
            types_pb2.REASON_CHECKSUM,
        ),
        (verify(volume=1, length=4096), types_pb2.REASON_INVALID),
        (verify(length=1 << 62, digest=b"x"), types_pb2.REASON_OUT_OF_RANGE),
        (verify(offset=ODD_SIZE, length=1), types_pb2.REASON_OUT_OF_RANGE),
    ],
)
def test_malformed_stream_is_refused_by_reason_and_writes_nothing(
    lone_secondary: Stack, message: stream_pb2.WriteForwardRequest, reason: int
) -> None:
    before = lone_secondary.image("secondary").read_bytes()
    answers = list(
        lone_secondary.secondary.WriteForward(
            iter([hello(lone_secondary), message]), timeout=10
        )
    )
    assert answers[0].HasField("welcome")
    assert answers[-1].failure.reason == reason, answers
    status = lone_secondary.secondary_status()
    assert status.state == types_pb2.REPLICA_STATE_FAULTED
    assert status.failure.reason == reason
    assert lone_secondary.image("secondary").read_bytes() == before
    request = Prepare(group="vm1", generation=status.generation, epoch=0)
    with pytest.raises(grpc.RpcError):
        lone_secondary.secondary.PrepareCheckpoint(request, timeout=5)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"protocol_version": 1}, "PROTOCOL_VERSION"),
        ({"group": "vm2"}, "WRONG_GROUP"),
        ({"volumes": []}, "VOLUME_MISMATCH"),
        (
            {"volumes": [types_pb2.Volume(name="disk0", uuid="x", size_bytes=MIB)]},
            "VOLUME_MISMATCH",
        ),
    ],
)
def test_wrong_hello_is_refused_and_changes_nothing(
    lone_secondary: Stack, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(grpc.RpcError) as refusal:
        list(
            lone_secondary.secondary.WriteForward(
                iter([hello(lone_secondary, **changes)]), timeout=10
            )
        )
    assert to_domain(cast("Any", refusal.value), "peer").reason.name == reason
    state = lone_secondary.secondary_status().state
    assert state == types_pb2.REPLICA_STATE_DISCONNECTED


def start_fails(stack: Stack, name: str) -> str:
    """Starts a service that must refuse; returns its last words."""
    done = subprocess.run(
        [sys.executable, "-m", "blkcolo_cli", name, "--config", stack.config(name)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_port_in_use_names_the_key(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    for kind, ports in (
        ("grpc", stack.grpc),
        ("nbd", stack.nbd),
        ("metrics", stack.metrics),
    ):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", ports["primary"]))
            taken.listen()
            assert f"{kind}.listen" in start_fails(stack, "primary")


def test_second_service_on_one_data_directory_is_refused(
    lone_secondary: Stack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Stack(tmp_path_factory.mktemp("other"))
    text = other.config("secondary").read_text()
    mine = str(lone_secondary.folder / "secondary")
    other.config("secondary").write_text(
        text.replace(str(other.folder / "secondary") + '"', mine + '"')
    )
    words = start_fails(other, "secondary")
    assert "data_dir" in words
    assert str(lone_secondary.processes["secondary"].pid) in words


def test_one_image_for_two_services_is_refused(
    lone_secondary: Stack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Stack(tmp_path_factory.mktemp("other"))
    text = other.config("primary").read_text()
    other.config("primary").write_text(
        text.replace(
            str(other.image("primary")), str(lone_secondary.image("secondary"))
        )
    )
    assert "in use by another service" in start_fails(other, "primary")


def test_images_whose_lengths_differ_are_refused_by_name(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    stack.image("secondary").write_bytes(bytes(MIB))
    words = start_fails(stack, "secondary")
    assert "disk0" in words
    assert str(ODD_SIZE) in words


def test_image_that_cannot_be_opened_is_refused_by_path(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    stack.image("primary").mkdir()
    assert str(stack.image("primary")) in start_fails(stack, "primary")


def test_bad_options_name_key_value_and_what_is_allowed(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    good = stack.config("primary").read_text()
    for bad, words in (
        ("log.level = 'loud'", ("log.level", "loud", "debug")),
        ("nbd.listn = '127.0.0.1:1'", ("nbd.listn", "did you mean listen?")),
        ("metrics.listen = 'here'", ("metrics.listen", "here", "HOST:PORT")),
    ):
        lines = [
            line for line in good.splitlines() if not line.startswith(bad.split(" ")[0])
        ]
        stack.config("primary").write_text("\n".join([bad, *lines]))
        output = start_fails(stack, "primary")
        for word in words:
            assert word in output, output


def test_different_contents_are_refused_by_volume_and_offset(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    image = bytearray(ODD_SIZE)
    stack.image("primary").write_bytes(image)
    image[MIB + 4096 + 511] = 1
    stack.image("secondary").write_bytes(image)
    try:
        stack.start()
        wait_until(
            lambda: stack.group().failure.reason == types_pb2.REASON_CONTENTS_DIFFER,
            "the difference is found",
        )
        failure = stack.group().failure
        assert stack.group().state == types_pb2.GROUP_STATE_UNPROTECTED
        assert (failure.volume, failure.offset) == ("disk0", MIB)
        assert not stack.secondary_status().HasField("committed_epoch")
        code, reason, _ = refused(
            stack.coordinator.Failover, pb.FailoverRequest(group="vm1")
        )
        assert (code, reason) == ("FAILED_PRECONDITION", "NO_CHECKPOINT")
        with NbdClient(stack.nbd["primary"], "disk0") as vm:
            vm.write(0, bytes(512))  # nobody was fenced
    finally:
        stack.close()
