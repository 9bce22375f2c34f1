"""Families of samples by group, read at each scrape from tables of how to read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    import enum
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client.core import Metric

_Group = TypeVar("_Group")


def counters(
    prefix: str,
    table: Mapping[str, tuple[str, Callable[[_Group], float]]],
    groups: Mapping[str, _Group],
) -> Iterator[Metric]:
    """A counter for each row: its name without the prefix, its help, how it is read."""
    for name, (text, read) in table.items():
        counter = CounterMetricFamily(f"{prefix}_{name}", text, labels=["group"])
        for label, group in groups.items():
            counter.add_metric([label], read(group))
        yield counter


def gauges(
    prefix: str,
    table: Mapping[str, tuple[str, Callable[[_Group], float | None]]],
    groups: Mapping[str, _Group],
) -> Iterator[Metric]:
    """A gauge for each row, as `counters`; no sample of a group that reads None."""
    for name, (text, read) in table.items():
        gauge = GaugeMetricFamily(f"{prefix}_{name}", text, labels=["group"])
        for label, group in groups.items():
            value = read(group)
            if value is not None:
                gauge.add_metric([label], float(value))
        yield gauge


def state_gauge(
    name: str, states: Iterable[enum.Enum], holding: Mapping[str, enum.Enum]
) -> Metric:
    """A gauge with a sample for each state of each group: 1 for the one that holds.

    Args:
        name: its full name.
        states: all there are.
        holding: by group, the one that holds.
    """
    gauge = GaugeMetricFamily(
        name, "1 for the state that holds.", labels=["group", "state"]
    )
    every = list(states)
    for label, state in holding.items():
        for each in every:
            gauge.add_metric([label, each.name.lower()], float(state is each))
    return gauge
