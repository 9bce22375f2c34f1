"""Makes dashboards/blkcolo.json: `python deploy/grafana/generate.py`.

Panels stand in the order in which an operator asks: am I protected, how old is the
last checkpoint, what does it cost my VM, what is it waiting for, who is who.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.builders.common import VizLegendOptions
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)

_TARGET = Path(__file__).with_name("dashboards") / "blkcolo.json"
_SOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")
_GROUP = 'group=~"$group"'


class Curve(NamedTuple):
    """One query and what its lines are called."""

    expr: str
    legend: str


def _query(curve: Curve) -> prometheus.Dataquery:
    return (
        prometheus.Dataquery()
        .datasource(_SOURCE)
        .expr(curve.expr)
        .legend_format(curve.legend)
    )


def _graph(
    title: str, unit: str, *curves: Curve, text: str = "", width: int = 12
) -> timeseries.Panel:
    panel = (
        timeseries.Panel()
        .title(title)
        .description(text)
        .datasource(_SOURCE)
        .unit(unit)
        .min(0)
        .span(width)
        .height(8)
        .fill_opacity(8)
        .show_points(common.VisibilityMode.NEVER)
        .legend(
            VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
    )
    for number, curve in enumerate(curves):
        panel.with_target(_query(curve).ref_id(chr(ord("A") + number)))
    return panel


def _protected() -> stat.Panel:
    words = ValueMap(
        options={
            "0": ValueMappingResult(text="not protected", color="red"),
            "1": ValueMappingResult(text="protected", color="green"),
        }
    )
    curve = Curve(f"blkcolo_coordinator_protected{{{_GROUP}}}", "{{group}}")
    return (
        stat.Panel()
        .title("Protected?")
        .description("Every VM write is forwarded above a committed checkpoint.")
        .datasource(_SOURCE)
        .mappings([words])
        .color_mode(common.BigValueColorMode.BACKGROUND)
        .graph_mode(common.BigValueGraphMode.NONE)
        .span(8)
        .height(6)
        .with_target(_query(curve))
    )


def _recovery_point() -> stat.Panel:
    steps = [
        Threshold(value=None, color="green"),
        Threshold(value=0.5, color="orange"),
        Threshold(value=1.0, color="red"),
    ]
    curve = Curve(
        f"blkcolo_coordinator_rpo_seconds{{{_GROUP}}}"
        f" / (blkcolo_coordinator_rpo_target_seconds{{{_GROUP}}} > 0)",
        "{{group}}",
    )
    return (
        stat.Panel()
        .title("Recovery point, share of its target")
        .description("Above 100 % more would be lost than was promised.")
        .datasource(_SOURCE)
        .unit("percentunit")
        .thresholds(
            dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)
        )
        .color_mode(common.BigValueColorMode.BACKGROUND)
        .span(8)
        .height(6)
        .with_target(_query(curve))
    )


def _states() -> stat.Panel:
    curve = Curve(
        f"blkcolo_coordinator_group_state{{{_GROUP}}} == 1", "{{group}}: {{state}}"
    )
    return (
        stat.Panel()
        .title("State")
        .datasource(_SOURCE)
        .text_mode(common.BigValueTextMode.NAME)
        .graph_mode(common.BigValueGraphMode.NONE)
        .span(8)
        .height(6)
        .with_target(_query(curve))
    )


def _quantile(share: float, metric: str, by: str, matchers: str = _GROUP) -> str:
    rate = f"rate({metric}_bucket{{{matchers}}}[$__rate_interval])"
    return f"histogram_quantile({share}, sum by (le, {by}) ({rate}))"


def _rate(metric: str, by: str = "group") -> str:
    return f"sum by ({by}) (rate({metric}{{{_GROUP}}}[$__rate_interval]))"


def _plain(metric: str) -> Curve:
    return Curve(f"{metric}{{{_GROUP}}}", "{{group}}")


def _checkpoint_panels() -> list[timeseries.Panel]:
    seconds = "blkcolo_coordinator_checkpoint_seconds"
    total = f'{_GROUP}, phase="total"'
    return [
        _graph(
            "Seconds since the last checkpoint, and the target",
            "s",
            Curve(f"blkcolo_coordinator_rpo_seconds{{{_GROUP}}}", "{{group}}"),
            Curve(
                f"blkcolo_coordinator_rpo_target_seconds{{{_GROUP}}}",
                "{{group}} target",
            ),
        ),
        _graph(
            "Checkpoint duration",
            "s",
            Curve(_quantile(0.5, seconds, "group", total), "{{group}} p50"),
            Curve(_quantile(0.99, seconds, "group", total), "{{group}} p99"),
            Curve(
                _quantile(0.99, "blkcolo_primary_checkpoint_stall_seconds", "group"),
                "{{group}} VM stall p99",
            ),
            text="No VM write waits for a checkpoint, but for the stall shown.",
        ),
        _graph(
            "Checkpoint duration p99 by phase",
            "s",
            Curve(_quantile(0.99, seconds, "phase"), "{{phase}}"),
        ),
        _graph(
            "Checkpoints by trigger",
            "ops",
            Curve(
                _rate("blkcolo_coordinator_checkpoints_total", "trigger"), "{{trigger}}"
            ),
        ),
    ]


def _data_panels() -> list[timeseries.Panel]:
    filled = f"blkcolo_secondary_buffer_bytes{{{_GROUP}}}"
    limit = f"(blkcolo_secondary_buffer_limit_bytes{{{_GROUP}}} > 0)"
    return [
        _graph(
            "Would be lost now",
            "bytes",
            Curve(f"blkcolo_coordinator_rpo_bytes{{{_GROUP}}}", "{{group}}"),
            Curve(
                f"blkcolo_primary_in_flight_bytes{{{_GROUP}}}", "{{group}} in flight"
            ),
            text="Written since the last checkpoint; in flight is a part of it.",
        ),
        _graph(
            "Unreplicated",
            "Bps",
            Curve(_rate("blkcolo_primary_unreplicated_bytes_total"), "{{group}}"),
            text="VM writes that no stream carried.",
        ),
        _graph(
            "Disk Buffer, share of its limit",
            "percentunit",
            Curve(f"{filled} / {limit}", "{{group}}"),
        ),
        _graph(
            "Disk Buffer, time to its limit",
            "s",
            Curve(
                f"clamp_max(({limit} - {filled})"
                f" / clamp_min(deriv({filled}[1m]), 1), 86400)",
                "{{group}}",
            ),
            text="At the rate of the last minute, without a checkpoint; at most a day.",
        ),
    ]


def _vm_panels() -> list[timeseries.Panel]:
    return [
        _graph(
            "NBD latency p99 by command",
            "s",
            Curve(
                _quantile(0.99, "blkcolo_nbd_request_seconds", "command", ""),
                "{{command}}",
            ),
        ),
        _graph(
            "NBD requests by command",
            "reqps",
            Curve(_rate("blkcolo_nbd_requests_total", "command"), "{{command}}"),
        ),
        _graph(
            "Latency that replication adds to a write",
            "s",
            Curve(
                _quantile(0.5, "blkcolo_primary_write_added_seconds", "group"),
                "{{group}} p50",
            ),
            Curve(
                _quantile(0.99, "blkcolo_primary_write_added_seconds", "group"),
                "{{group}} p99",
            ),
        ),
        _graph(
            "Waiting",
            "s",
            _plain("blkcolo_primary_no_progress_seconds"),
            Curve(f"blkcolo_primary_throttled{{{_GROUP}}}", "{{group}} throttled"),
            text="Seconds without progress on the secondary while something is due.",
        ),
    ]


def _volume_panels() -> list[timeseries.Panel]:
    by_volume = "group, volume"
    busy = _rate("blkcolo_nbd_busy_seconds_total", by_volume)
    requests = _rate("blkcolo_nbd_requests_total", by_volume)
    return [
        _graph(
            "Requests by volume",
            "reqps",
            Curve(requests, "{{group}} {{volume}}"),
        ),
        _graph(
            "Bytes by volume",
            "Bps",
            Curve(
                _rate("blkcolo_primary_served_bytes_total", by_volume),
                "{{group}} {{volume}}",
            ),
            text="Read, written, zeroed and trimmed.",
        ),
        _graph(
            "Mean latency by volume",
            "s",
            Curve(f"{busy} / {requests}", "{{group}} {{volume}}"),
        ),
        _graph(
            "Disk Buffer by volume",
            "bytes",
            Curve(
                f"sum by ({by_volume}) (blkcolo_secondary_buffered_bytes{{{_GROUP}}})",
                "{{group}} {{volume}}",
            ),
        ),
    ]


def _stream_panels() -> list[timeseries.Panel]:
    return [
        _graph(
            "Stream",
            "Bps",
            Curve(_rate("blkcolo_primary_sent_bytes_total"), "{{group}} sent"),
            Curve(_rate("blkcolo_primary_acked_bytes_total"), "{{group}} applied"),
            Curve(_rate("blkcolo_primary_resent_bytes_total"), "{{group}} resent"),
        ),
        _graph(
            "Reconnects",
            "ops",
            Curve(_rate("blkcolo_primary_resyncs_total", "plan"), "{{plan}}"),
            text="New streams, by what had to be compared in them.",
        ),
        _graph(
            "Resync progress",
            "bytes",
            Curve(f"blkcolo_primary_resync_done_bytes{{{_GROUP}}}", "{{group}} done"),
            Curve(f"blkcolo_primary_resync_total_bytes{{{_GROUP}}}", "{{group}} of"),
        ),
        _graph(
            "Undo saved for each byte applied",
            "none",
            Curve(
                f"{_rate('blkcolo_secondary_undo_saved_bytes_total')}"
                f" / {_rate('blkcolo_secondary_applied_bytes_total')}",
                "{{group}}",
            ),
            text="Write amplification on the secondary; below 1 where blocks are hot.",
        ),
    ]


def _trust_panels() -> list[timeseries.Panel]:
    verified = f"blkcolo_primary_last_verified_timestamp_seconds{{{_GROUP}}}"
    return [
        _graph(
            "Epoch and committed checkpoint",
            "none",
            Curve(f"blkcolo_primary_epoch{{{_GROUP}}}", "{{group}} epoch"),
            Curve(
                f"blkcolo_secondary_committed_epoch{{{_GROUP}}}", "{{group}} committed"
            ),
        ),
        _graph("Generation", "none", _plain("blkcolo_coordinator_generation")),
        _graph(
            "Age of the last verify, and what it found",
            "s",
            Curve(f"time() - {verified}", "{{group}}"),
            Curve(
                f"blkcolo_primary_verify_mismatching_blocks_total{{{_GROUP}}}",
                "{{group}} blocks that differed",
            ),
        ),
        _graph(
            "Errors by reason",
            "ops",
            Curve(
                "sum by (reason) (rate(blkcolo_errors_total[$__rate_interval]))",
                "{{reason}}",
            ),
            Curve(
                "sum by (grpc_code) (rate(grpc_server_handled_total"
                '{grpc_code!="OK"}[$__rate_interval]))',
                "{{grpc_code}}",
            ),
        ),
    ]


def build() -> str:
    """The board as JSON."""
    group = (
        dashboard.QueryVariable("group")
        .label("Group")
        .datasource(_SOURCE)
        .query("label_values(blkcolo_coordinator_protected, group)")
        .multi(True)
        .include_all(True)
    )
    board = (
        dashboard.Dashboard("blkcolo")
        .uid("blkcolo")
        .description("Continuous-checkpoint block replication.")
        .tags(["blkcolo"])
        .refresh("5s")
        .time("now-15m", "now")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .readonly()
        .with_variable(group)
        .with_row(dashboard.Row("Protected?"))
    )
    for panel in (_protected(), _recovery_point(), _states()):
        board.with_panel(panel)
    rows = {
        "Checkpoints": _checkpoint_panels(),
        "What is at risk": _data_panels(),
        "The VM": _vm_panels(),
        "Its volumes": _volume_panels(),
        "The stream": _stream_panels(),
        "Who is who, and is it true": _trust_panels(),
    }
    for title, panels in rows.items():
        board.with_row(dashboard.Row(title))
        for each in panels:
            board.with_panel(each)
    return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"


if __name__ == "__main__":
    sys.stdout.write(f"{_TARGET}\n")
    _TARGET.write_text(build())
