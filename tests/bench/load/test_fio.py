"""What fio measured is read."""

from __future__ import annotations

import json

from tests.bench.load import fio


def test_both_sides_of_a_mixed_load_count() -> None:
    def side(count: int) -> dict[str, object]:
        latency = {"percentile": {"50.000000": 1000 * count, "99.000000": 9000}}
        return {
            "total_ios": count,
            "iops": count,
            "bw_bytes": count << 20,
            "clat_ns": latency,
        }

    output = "warning\n" + json.dumps({"jobs": [{"read": side(2), "write": side(3)}]})
    assert fio.parse(output) == fio.Measured(5, 5, 3, 9)
