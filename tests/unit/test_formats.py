"""services/secondary/FORMATS.md reads real files: what it says is what is written."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

import google_crc32c

from blkcolo.extents import BLOCK_SIZE
from blkcolo.intent.log import IntentLog
from blkcolo.stream import Barrier, Batch, Hello, RecordKind, Verify, VolumeId
from blkcolo.stream import extend_digest as extend
from blkcolo_secondary.buffer.save_and_write import Sync
from blkcolo_secondary.core.replica import Replica
from blkcolo_secondary.core.replica_options import ReplicaOptions
from tests.memory_files import MemoryFile, MemoryFolder

DOCUMENT = (Path(__file__).parents[2] / "services/secondary/FORMATS.md").read_text()
LAYOUTS = dict(re.findall(r"```struct\n(.+) = (\S+)\n```", DOCUMENT))
HEADER = struct.Struct(LAYOUTS["record header"])
RUN = struct.Struct(LAYOUTS["saved run"])
VOLUMES = (VolumeId("disk0", "uuid0", 8 * BLOCK_SIZE + 100),)


def decode(content: bytes) -> list[tuple[int, int, int, bytes]]:
    """Kind, a, b and payload of each record, by the document alone."""
    found, at = [], 0
    while at < len(content):
        head = content[at : at + HEADER.size]
        magic, version, kind, _, a, b, length, crc, head_crc = HEADER.unpack(head)
        assert (magic, version) == (b"BCRC", 1)
        assert google_crc32c.value(head[:32]) == head_crc
        payload = content[at + HEADER.size : at + HEADER.size + length]
        assert (google_crc32c.value(payload) if payload else 0) == crc
        if kind == 0:
            assert (a, b) == (b, at)
        found.append((kind, a, b, payload))
        at += HEADER.size + length
    assert at == len(content)
    return found


def replicate(folder: MemoryFolder, disk: MemoryFile) -> Replica:
    """Checkpoint 0 of a disk with data in blocks 1, 2 and 8; then epoch 1 writes."""
    options = ReplicaOptions(host_durable=True)
    intent = IntentLog(MemoryFolder(), "vm", [VOLUMES[0].size], 65536)
    replica = Replica("vm", VOLUMES, [disk], folder, intent, lambda: "copy", options)
    replica.reception.hello(Hello("vm", 3, VOLUMES, discard_secondary=True))
    stream = replica.reception.stream
    assert stream is not None
    data = b"new" * 100
    offsets = [5, BLOCK_SIZE, 8 * BLOCK_SIZE]
    lengths = [len(data), len(data), 100]
    payload = data + data + data[:100]
    sums = [google_crc32c.value(payload[:300])] * 2
    sums.append(google_crc32c.value(data[:100]))
    batch = Batch(1, [RecordKind.DATA] * 3, [0] * 3, offsets, lengths, sums, payload)
    batch.digest = extend(0, batch)
    messages: list[Verify | Barrier | Batch] = [
        Verify((), complete=True),
        Barrier(0, 0, 0),
        batch,
    ]
    for seq, message in enumerate(messages, 2):
        stream.receive(seq)
        for effect in replica.reception.apply(stream, seq, message):
            if isinstance(effect, Sync):
                effect.run()
        if seq == 3:
            replica.checkpoints.commit(0, 3, 77.5)
    replica.buffer.write(0, 2 * BLOCK_SIZE, memoryview(b"secondary VM"))
    return replica


def test_document_reads_journal_undo_layer_and_marks() -> None:
    folder, disk = MemoryFolder(), MemoryFile(VOLUMES[0].size)
    disk.write(BLOCK_SIZE, b"a" * BLOCK_SIZE + b"b" * BLOCK_SIZE)
    disk.write(8 * BLOCK_SIZE, b"c" * 100)
    replicate(folder, disk)

    kind, committed, generation, said = decode(bytes(folder.files["journal"].content))[
        -1
    ]
    state = json.loads(said)
    assert (kind, committed, generation) == (1, 0, 3)
    assert (state["committed"], state["phase"]) == (0, "active")
    assert state["history"] == [[0, 77.5]]
    assert all(f"`{name}`" in DOCUMENT for name in state)

    ((kind, count, _, payload),) = decode(bytes(folder.files["undo-1"].content))
    assert kind == 1
    runs = [RUN.unpack_from(payload, RUN.size * n) for n in range(count)]
    assert runs == [(0, 1, 0), (1, 2, 1), (8, 9, 1)]
    padding = bytes(BLOCK_SIZE - 100)
    stored = payload[RUN.size * count :]
    assert stored == b"a" * BLOCK_SIZE + b"c" * 100 + padding

    (marks,) = [n for n in folder.files if n.endswith(".marks")]
    assert marks == "overlay-0-0.marks"
    assert [(k, a, b) for k, a, b, _ in decode(bytes(folder.files[marks].content))] == [
        (1, 2, 3)
    ]
