"""The pace of a comparison, on a simulated machine that both sides share."""

from __future__ import annotations

import pytest

from blkcolo_primary.core.pacer import Pacer

#: What the machine can do in all, in bytes a second.
CAPACITY = 400e6
STEP = 1 << 20


def run(vm_wants: float, seconds: float, limit: int = 0) -> tuple[float, float]:
    """Speeds of the VM and the comparison, in bytes a second."""
    now = served = compared = 0.0
    pacer = Pacer(now, 0, limit)
    while now < seconds:
        delay = pacer.delay(now, int(served))
        if delay:
            now += delay
            served += vm_wants * delay
            continue
        took = STEP / CAPACITY  # a step has the machine for itself
        now += took
        compared += STEP
        pacer.spent(now, STEP)
    return served / now, compared / now


@pytest.mark.parametrize("vm_wants", [5e6, 50e6, 300e6])
def test_busy_vm_keeps_more_than_half_of_its_speed(vm_wants: float) -> None:
    vm, comparison = run(vm_wants, 30)
    assert vm > 0.5 * vm_wants
    assert comparison > 5e6  # and the comparison goes on


def test_idle_vm_is_not_spared() -> None:
    assert run(0, 10)[1] > 0.7 * CAPACITY


def test_limit_is_never_exceeded() -> None:
    for vm_wants in (0, 50e6):
        assert run(vm_wants, 30, limit=8 << 20)[1] < 1.1 * (8 << 20)


def test_starved_vm_never_stops_the_comparison() -> None:
    now = served = compared = 0.0
    pacer = Pacer(now, 0)
    while now < 60:
        delay = pacer.delay(now, int(served))
        if delay:
            now += delay
            served += 100e6 * delay if pacer.resting else 0
            continue
        compared += STEP
        now += 0.001
        pacer.spent(now, STEP)
    assert compared / now > 0.5 * STEP
