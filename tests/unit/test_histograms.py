"""The cheap histogram counts as Prometheus' own does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import HistogramMetricFamily

from blkcolo.observe.histograms import WRITE_BUCKETS, LatencyHistogram


@given(st.lists(st.floats(0, 10) | st.sampled_from(WRITE_BUCKETS)))
def test_same_samples_as_the_library(observations: list[float]) -> None:
    registry = CollectorRegistry()
    theirs = Histogram("t", "t", ["l"], buckets=WRITE_BUCKETS, registry=registry)
    labelled, ours = theirs.labels("x"), LatencyHistogram()
    for seconds in observations:
        labelled.observe(seconds)
        ours.observe(seconds)
    family = HistogramMetricFamily("t", "t", labels=["l"])
    ours.add_to(family, ["x"])
    (expected,) = theirs.collect()
    wanted = {
        (s.name, tuple(sorted(s.labels.items()))): s.value
        for s in expected.samples
        if not s.name.endswith("_created")
    }
    assert {
        (s.name, tuple(sorted(s.labels.items()))): s.value for s in family.samples
    } == wanted
    assert ours.count == len(observations)
