"""The table of roles: every RPC has a line, and what is not in it is denied."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

import pytest
from grpc_channelz.v1 import channelz_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

import blkcolo.v1
from blkcolo.security.authorization import (
    NBD_ROLES,
    TABLE,
    PeerRole,
    allowed,
    roles_of,
)

if TYPE_CHECKING:
    from google.protobuf.descriptor import ServiceDescriptor

CHANGES = {PeerRole.COORDINATOR, PeerRole.OPERATOR}
READS = {*CHANGES, PeerRole.NODE, PeerRole.OBSERVER}


def services() -> list[ServiceDescriptor]:
    names = [module.name for module in pkgutil.iter_modules(blkcolo.v1.__path__)]
    own = [
        importlib.import_module(f"blkcolo.v1.{name}")
        for name in names
        if name.endswith("_pb2")
    ]
    modules = [*own, health_pb2, reflection_pb2, channelz_pb2]
    return [
        service
        for module in modules
        for service in module.DESCRIPTOR.services_by_name.values()
    ]


def test_every_rpc_has_a_line_and_no_line_is_left_over() -> None:
    served = {
        service.full_name: {method.name for method in service.methods}
        for service in services()
    }
    assert "blkcolo.v1.SecondaryService" in served
    assert {name: set(methods) for name, methods in TABLE.items()} == served, (
        "give each new RPC a line in blkcolo/security/authorization.py"
    )


def expected(service: str, method: str) -> set[PeerRole]:
    """The rule in words: what forwards, what only looks, and all the rest."""
    if service == "grpc.health.v1.Health":
        return set(PeerRole)
    if method == "WriteForward":
        return {PeerRole.NODE}
    looks = method.startswith(("Get", "List", "Watch", "Explain"))
    return READS if looks or service.startswith("grpc.") else CHANGES


@pytest.mark.parametrize(
    ("service", "method"),
    [
        (service.full_name, each.name)
        for service in services()
        for each in service.methods
    ],
)
def test_only_those_may_call_it_whose_work_it_is(service: str, method: str) -> None:
    assert allowed(f"/{service}/{method}") == expected(service, method)


@pytest.mark.parametrize(
    "method",
    [
        *("", "/", "/blkcolo.v1.CoordinatorService/Destroy", "GetGroup"),
        *("/blkcolo.v2.CoordinatorService/GetGroup", "/a/b/c"),
    ],
)
def test_what_has_no_line_is_denied_to_everybody(method: str) -> None:
    assert allowed(method) == frozenset()


def test_roles_are_exact_uris_and_add_up() -> None:
    assert roles_of([]) == frozenset()
    near = ["blkcolo://role/Operator", "blkcolo://role/operator/", "operator"]
    assert roles_of([*near, "spiffe://x/operator"]) == frozenset()
    both = [PeerRole.NODE.uri, PeerRole.OBSERVER.uri]
    assert roles_of(both) == {PeerRole.NODE, PeerRole.OBSERVER}
    assert PeerRole.NODE.uri == "blkcolo://role/node"


def test_nobody_who_only_looks_attaches_a_disk() -> None:
    assert {PeerRole.NBD, PeerRole.OPERATOR} == NBD_ROLES
