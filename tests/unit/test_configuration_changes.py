"""What a new configuration changes, by key."""

from __future__ import annotations

from typing import Any

import pytest

from blkcolo.process.configuration_changes import InForce
from blkcolo_coordinator.settings import CoordinatorSettings
from blkcolo_node.settings import PrimarySettings

SIDES = {"primary": "127.0.0.1:1", "secondary": "127.0.0.1:2"}
TLS = {"ca": "/ca", "cert": "/cert", "key": "/key"}


def group(name: str, **options: Any) -> dict[str, Any]:
    return {"name": name, **SIDES, **options}


def coordinator(*groups: dict[str, Any], **options: Any) -> CoordinatorSettings:
    return CoordinatorSettings(data_dir="/d", groups=list(groups), **options)


@pytest.mark.parametrize(
    ("new", "keys"),
    [
        (coordinator(group("a"), group("b")), set()),
        (coordinator(group("b"), group("a")), set()),
        (coordinator(group("a")), {"groups[b]"}),
        (coordinator(group("a"), group("c"), group("b")), {"groups[c]"}),
        (
            coordinator(group("a", policy={"sent_bytes": 1}), group("b")),
            {"groups[a].policy.sent_bytes"},
        ),
        (
            coordinator(
                group("a"), group("b"), tls=TLS, log={"level": "error"}, insecure=True
            ),
            {"tls", "log.level", "insecure"},
        ),
    ],
)
def test_each_change_is_told_once_by_its_widest_key(
    new: CoordinatorSettings, keys: set[str]
) -> None:
    assert InForce(coordinator(group("a"), group("b"))).changed(new) == keys


def test_what_was_not_taken_over_is_told_again() -> None:
    in_force = InForce(coordinator(group("a")))
    new = coordinator(group("a"), group("b"), insecure=True)
    in_force.took(new, frozenset({"groups[b]"}))
    assert in_force.changed(new) == {"insecure"}
    assert in_force.changed(coordinator(group("a"))) == {"groups[b]"}


def test_the_order_of_volumes_counts() -> None:
    def primary(*names: str) -> PrimarySettings:
        volumes = [{"name": name, "path": f"/{name}", "size": 1} for name in names]
        groups: Any = [{"name": "vm1", "volumes": volumes}]
        return PrimarySettings(data_dir="/d", groups=groups)

    in_force = InForce(primary("x", "y"))
    assert in_force.changed(primary("y", "x")) == {"groups[vm1].volumes"}
    assert in_force.changed(primary("x", "y", "z")) == {"groups[vm1].volumes"}


def test_a_default_that_is_given_in_so_many_words_is_no_change() -> None:
    def primary(**options: object) -> PrimarySettings:
        volume = {"name": "x", "path": "/x", "size": 1}
        groups: Any = [{"name": "vm1", "volumes": [volume], **options}]
        return PrimarySettings(data_dir="/d", groups=groups)

    assert InForce(primary()).changed(primary(window_writes=512)) == set()
    in_force = InForce(primary(on_congestion="detach"))
    assert in_force.changed(primary(on_congestion="detach", window_writes=0)) == set()
    key = "groups[vm1].window_writes"
    assert InForce(primary()).changed(primary(window_writes=1024)) == {key}
