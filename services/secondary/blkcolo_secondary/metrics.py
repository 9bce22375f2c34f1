"""The secondary's Prometheus metrics, read from the groups at each scrape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from blkcolo.observe.group_samples import counters, gauges, state_gauge
from blkcolo_secondary.core.replica_state import ReplicaState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prometheus_client.core import Metric

    from blkcolo_secondary.runtime.group import ReplicaGroup

_PREFIX = "blkcolo_secondary"

_GAUGES: dict[str, tuple[str, Callable[[ReplicaGroup], float | None]]] = {
    "buffer_bytes": (
        "Undo bytes in the Disk Buffer.",
        lambda group: group.replica.buffer.buffer_bytes,
    ),
    "buffer_limit_bytes": (
        "Undo bytes at which VM writes are held up; 0: no limit.",
        lambda group: group.replica.options.buffer_limit_bytes,
    ),
    "buffer_full": (
        "1 while the Disk Buffer is at its limit and asks to hold VM writes up.",
        lambda group: float(group.replica.reception.buffer_full),
    ),
    "history_bytes": (
        "Undo bytes of kept checkpoints.",
        lambda group: group.replica.buffer.history_bytes,
    ),
    "kept_checkpoints": (
        "Checkpoints that failover can lead to.",
        lambda group: len(group.replica.checkpoints.available),
    ),
    "flush_remaining_bytes": (
        "Bytes that a flush has still to move.",
        lambda group: group.flush.remaining_bytes,
    ),
    "generation": (
        "The newest known generation.",
        lambda group: group.replica.generation,
    ),
    "epoch": (
        "The epoch that received writes belong to.",
        lambda group: (
            group.replica.reception.stream.epoch
            if group.replica.reception.stream
            else None
        ),
    ),
    "committed_epoch": (
        "The last committed checkpoint; no sample before the first.",
        lambda group: group.replica.shown,
    ),
    "committed_timestamp_seconds": (
        "When it was committed; no sample before the first.",
        lambda group: group.replica.journal.state.committed_at or None,
    ),
}
_COUNTERS: dict[str, tuple[str, Callable[[ReplicaGroup], float]]] = {
    "received_bytes": (
        "Bytes of the stream taken into memory.",
        lambda group: group.reception.received_bytes,
    ),
    "applied_bytes": (
        "Bytes written, zeroed and trimmed by the stream.",
        lambda group: group.replica.buffer.applied_bytes,
    ),
    "undo_saved_bytes": (
        "Bytes appended to undo layers: by applied_bytes, the write amplification.",
        lambda group: group.replica.buffer.saved_bytes,
    ),
    "undo_checked_bytes": (
        "Bytes of undo layers that were read back and found to be right.",
        lambda group: group.layer_check.checked_bytes,
    ),
    "damaged_undo_layers": (
        "Undo layers that were read back and found to be damaged.",
        lambda group: group.layer_check.damaged_layers,
    ),
    "flushed_bytes": (
        "Bytes moved from the Disk Buffer into the disk.",
        lambda group: group.flush.flushed_bytes,
    ),
}


class ReplicaCollector(Collector):
    """Turns the groups into samples."""

    def __init__(self, groups: Mapping[str, ReplicaGroup]) -> None:
        """Takes the groups."""
        self._groups = groups

    def collect(self) -> Iterable[Metric]:
        """Yields every family, one sample a group."""
        yield from gauges(_PREFIX, _GAUGES, self._groups)
        yield from counters(_PREFIX, _COUNTERS, self._groups)
        states = {label: group.replica.state for label, group in self._groups.items()}
        yield state_gauge(f"{_PREFIX}_state", ReplicaState, states)
        yield from self._of_volumes()

    def _of_volumes(self) -> Iterable[Metric]:
        labels = ["group", "volume"]
        buffered = GaugeMetricFamily(
            f"{_PREFIX}_buffered_bytes",
            "Bytes of the volume whose old content is in the Disk Buffer.",
            labels=labels,
        )
        overlays = GaugeMetricFamily(
            f"{_PREFIX}_overlay_bytes",
            "Bytes of the Secondary VM's writes in the Disk Buffer.",
            labels=labels,
        )
        for label, group in self._groups.items():
            buffer = group.replica.buffer
            columns = zip(buffer.volumes, buffer.overlays, strict=True)
            for number, (volume, overlay) in enumerate(columns):
                buffered.add_metric([label, volume.name], buffer.buffered_bytes(number))
                held = overlay.bytes_held if overlay is not None else 0
                overlays.add_metric([label, volume.name], held)
        yield from (buffered, overlays)
