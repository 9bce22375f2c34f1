"""Several groups on one pair: their calls go together, and each stands alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from blkcolo.v1 import coordinator_pb2, types_pb2
from tests.nbd_client import NbdClient
from tests.stack import MIB, Stack, started, wait_until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.integration

_GROUPS = ("vm1", "vm2", "vm3")
#: The coordinator alone knows it.
_STRANGER = "stranger"


class SeveralGroups(Stack):
    """One pair, three groups, and one that both nodes refuse."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, sizes=(MIB,))
        for name in ("primary", "secondary"):
            volumes = "".join(
                f'[[groups]]\nname = "{group}"\n[[groups.volumes]]\n'
                f'name = "disk-{group}"\nsize = {MIB}\n'
                f'path = "{folder / name}-{group}.img"\n'
                for group in _GROUPS
            )
            listen = f'nbd.listen = "127.0.0.1:{self.nbd[name]}"\n'
            self._write(name, listen + volumes)
        pairs = "".join(
            f'[[groups]]\nname = "{group}"\nprimary = "{self.address("primary")}"\n'
            f'secondary = "{self.address("secondary")}"\n[groups.policy]\n'
            "min_interval_seconds = 0\nmax_interval_seconds = 0.2\n"
            for group in (*_GROUPS, _STRANGER)
        )
        self._write("coordinator", pairs)

    def sample(self, service: str, start: str, *parts: str) -> float:
        """The value of the first sample with these parts."""
        return next(
            float(line.rsplit(" ", 1)[1])
            for line in self.scrape(service).splitlines()
            if line.startswith(start) and all(part in line for part in parts)
        )

    def protected(self) -> list[str]:
        return [
            group
            for group in (*_GROUPS, _STRANGER)
            if self.sample("coordinator", "blkcolo_coordinator_protected{", group)
        ]

    def together(self, service: str) -> float:
        """How often calls of several groups came in one."""
        return self.sample(service, "grpc_server_started_total{", '"CallMany"')

    def of(self, group: str) -> coordinator_pb2.Group:
        request = coordinator_pb2.GetGroupRequest(group=group)
        found: coordinator_pb2.Group
        found = self.coordinator.GetGroup(request, timeout=20).group
        return found


def test_groups_share_calls_and_nothing_else(tmp_path: Path) -> None:
    with started(SeveralGroups(tmp_path)) as stack:
        wait_until(lambda: stack.protected() == list(_GROUPS), "all but the stranger")
        for service in ("primary", "secondary"):
            assert stack.together(service) > 0
        failure = stack.of(_STRANGER).failure
        assert failure.reason == types_pb2.REASON_WRONG_GROUP
        assert f"no group '{_STRANGER}' on this" in failure.message

        before = {group: stack.of(group).committed_epoch for group in _GROUPS}
        for group in _GROUPS:
            with NbdClient(stack.nbd["primary"], f"disk-{group}") as vm:
                vm.write(0, group.encode() * 100)
        wait_until(
            lambda: all(
                stack.of(group).committed_epoch > before[group] for group in _GROUPS
            ),
            "what each group's VM wrote is in a checkpoint",
        )
        for group in _GROUPS:
            with NbdClient(stack.nbd["secondary"], f"disk-{group}") as view:
                assert view.read(0, 300) == group.encode() * 100

        stack.kill("secondary")
        wait_until(lambda: not stack.protected(), "all have lost it")
        shared = stack.together("primary")
        stack.start("secondary")
        wait_until(lambda: stack.protected() == list(_GROUPS), "all but the stranger")
        assert stack.together("primary") > shared
