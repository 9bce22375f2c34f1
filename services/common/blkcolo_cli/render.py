"""Groups as people read them: tables on a terminal, plain lines in a pipe."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Group as Stack
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from blkcolo.v1 import types_pb2

if TYPE_CHECKING:
    from rich.console import RenderableType

    from blkcolo.v1 import coordinator_pb2 as pb
    from blkcolo.v1.primary_pb2 import ForwardStatus

_COLOURS = {
    types_pb2.GROUP_STATE_PROTECTED: "bold green",
    types_pb2.GROUP_STATE_STARTING: "bold yellow",
    types_pb2.GROUP_STATE_UNPROTECTED: "bold red",
    types_pb2.GROUP_STATE_FAILING_OVER: "bold magenta",
    types_pb2.GROUP_STATE_FAILED_OVER: "bold magenta",
    types_pb2.GROUP_STATE_REPROTECTING: "bold magenta",
    types_pb2.GROUP_STATE_SWITCHING_OVER: "bold magenta",
    types_pb2.GROUP_STATE_STOPPED: "dim",
}

_NO_STREAM = {
    types_pb2.FORWARD_STATE_IDLE,
    types_pb2.FORWARD_STATE_CONNECTING,
    types_pb2.FORWARD_STATE_LOST,
}
_FAILED_OVER = {
    types_pb2.REPLICA_STATE_FAILING_OVER,
    types_pb2.REPLICA_STATE_FAILED_OVER,
}


def state_name(group: pb.Group) -> str:
    """The state as people say it."""
    name = types_pb2.GroupState.Name(group.state).removeprefix("GROUP_STATE_")
    return name.lower().replace("_", " ")


def size(count: int) -> str:
    """Bytes with a unit of 1024."""
    amount, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            break
        amount /= 1024
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def duration(seconds: float) -> str:
    """Seconds, or milliseconds below one."""
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


def _age(timestamp: float) -> str:
    return f"{duration(max(time.time() - timestamp, 0))} ago" if timestamp else "never"


def _committed(group: pb.Group) -> str:
    age = group.committed_age_seconds
    known = group.HasField("committed_age_seconds")  # not by an older coordinator
    at = f"{duration(age)} ago" if known else _age(group.committed_timestamp_seconds)
    text = f"{group.committed_epoch} ({at}, {group.last_trigger})"
    if group.recovery_point_age_seconds < age:
        until = duration(group.recovery_point_age_seconds)
        text += f", nothing written until {until} ago"
    return text


def rows(group: pb.Group) -> list[tuple[str, str]]:
    """What there is to say of a group, label by label."""
    p = group.primary
    has_p, has_s = group.HasField("primary"), group.HasField("secondary")
    committed = "none yet"
    if group.HasField("committed_epoch"):
        committed = _committed(group)
    lines = [
        ("state", state_name(group) + (" (paused)" if group.paused else "")),
        ("primary", _side(group.primary_address, group, "secondary")),
        ("secondary", _side(group.secondary_address, group, "primary")),
        ("generation", str(group.generation)),
        ("epoch", str(p.epoch) if has_p else "primary does not answer"),
        ("committed", committed),
        ("checkpoint took", _phases(group.last_checkpoint)),
    ]
    if has_p:
        lines += [
            ("sent", f"{size(p.sent_bytes)} ({size(p.sent_bytes_in_epoch)} in epoch)"),
            ("in flight", size(p.in_flight_bytes)),
        ]
        if p.state in _NO_STREAM:
            lines.append(("to send again", _dirty(p)))
        if p.state == types_pb2.FORWARD_STATE_RESYNCING:
            lines.append(("resync", _resync(p)))
        if p.warning:
            lines.append(("warning", p.warning))
        if p.HasField("verify"):
            lines.append(("verify", _verify(p)))
    if has_s:
        lines.append(("buffer", _buffer(group)))
    else:
        lines.append(("buffer", "secondary does not answer"))
    return lines + _disks(group)


def _disks(group: pb.Group) -> list[tuple[str, str]]:
    """Where both disks are, and, behind a failover, which of them is the VM's."""
    primary, secondary = "primary disk", "secondary disk"
    if group.secondary.state in _FAILED_OVER:
        primary, secondary = "old primary disk", "the VM's disk"
    return [(primary, uri) for uri in group.primary.nbd_uris] + [
        (secondary, uri) for uri in group.secondary.nbd_uris
    ]


def _dirty(p: ForwardStatus) -> str:
    """What the next resync compares, where the intent log knows it."""
    known = p.HasField("dirty_bytes")
    return f"at most {size(p.dirty_bytes)}" if known else "what differs of all"


def _side(address: str, group: pb.Group, configured: str) -> str:
    """Who is in this role now, and, where it is another one, who is configured to."""
    return f"{address} (configured as {configured})" if group.reversed else address


def _phases(took: pb.CheckpointTimings) -> str:
    if not took.total_seconds:
        return "none yet"
    prepare = took.prepare_primary_seconds, took.prepare_secondary_seconds
    do = took.do_secondary_seconds, took.do_primary_seconds
    return (
        f"{duration(took.total_seconds)}"
        f" (prepare {' + '.join(map(duration, prepare))},"
        f" do {' + '.join(map(duration, do))})"
    )


def _resync(p: ForwardStatus) -> str:
    text = f"{size(p.resync_done_bytes)} of {size(p.resync_total_bytes)}"
    if p.resync_bytes_per_second:
        text += f", {size(round(p.resync_bytes_per_second))}/s"
    if p.HasField("resync_eta_seconds"):
        text += f", {duration(p.resync_eta_seconds)} left"
    return text


def _verify(p: ForwardStatus) -> str:
    report = p.verify
    if report.HasField("failure"):
        text = "ended early"
    elif report.complete:
        text = f"complete {_age(p.last_verified_timestamp_seconds)}"
    else:
        text = f"{size(report.done_bytes)} of {size(report.total_bytes)}"
    if report.differing_bytes:
        text += f", {size(report.differing_bytes)} differed"
    return text


def _buffer(group: pb.Group) -> str:
    s = group.secondary
    text = size(s.buffer_bytes)
    if s.overlay_bytes:
        text += f" + {size(s.overlay_bytes)} overlay"
    if s.flush_remaining_bytes:
        text += f", {size(s.flush_remaining_bytes)} to flush"
    return text


def panel(group: pb.Group) -> RenderableType:
    """A group on a terminal."""
    table = Table.grid(padding=(0, 2))
    colour = _COLOURS.get(group.state, "")
    for label, value in rows(group):
        style = colour if label == "state" else ""
        table.add_row(Text(label, style="dim"), Text(value, style=style))
    parts: list[RenderableType] = [table]
    p = group.primary
    if p.state == types_pb2.FORWARD_STATE_RESYNCING and p.resync_total_bytes:
        bar = Table.grid(padding=(0, 2))
        bar.add_row(
            Text("comparing", style="dim"),
            ProgressBar(p.resync_total_bytes, p.resync_done_bytes, width=30),
            Text(_resync(p)),
        )
        parts.append(bar)
    if group.HasField("failure"):
        parts.append(Text(group.failure.message, style="red"))
    return Panel(Stack(*parts), title=group.spec.name, title_align="left", width=100)


def line(group: pb.Group) -> str:
    """A group in one plain line."""
    fields = {
        "state": state_name(group).replace(" ", "_"),
        "primary": group.primary_address,
        "epoch": group.primary.epoch,
        "committed": group.committed_epoch
        if group.HasField("committed_epoch")
        else "-",
        "sent_bytes": group.primary.sent_bytes,
        "buffer_bytes": group.secondary.buffer_bytes,
        "last_checkpoint_ms": f"{group.last_checkpoint.total_seconds * 1000:.1f}",
    }
    if group.primary.state == types_pb2.FORWARD_STATE_RESYNCING:
        fields["resync_done_bytes"] = group.primary.resync_done_bytes
        fields["resync_total_bytes"] = group.primary.resync_total_bytes
        if group.primary.HasField("resync_eta_seconds"):
            fields["resync_eta"] = f"{group.primary.resync_eta_seconds:.0f}s"
    text = " ".join(f"{key}={value}" for key, value in fields.items())
    return f"{group.spec.name} {text}"


def plain(group: pb.Group) -> str:
    """A group in a pipe: all that a terminal shows, without colour."""
    lines = [group.spec.name]
    lines += [f"  {label:16} {value}" for label, value in rows(group)]
    if group.HasField("failure"):
        lines.append(f"  {'reason':16} {group.failure.message}")
    return "\n".join(lines)
