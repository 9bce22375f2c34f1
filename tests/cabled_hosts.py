"""Two hosts: network namespaces with one cable between them."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The hosts' addresses, in the order of their names.
ADDRESSES = "10.213.7.1", "10.213.7.2"


def _ip(*arguments: str) -> None:
    subprocess.run(
        ["ip", *arguments], check=True, capture_output=True, text=True, timeout=10
    )


class CabledHosts:
    """The namespaces `one` and `other`."""

    def __init__(self) -> None:
        self.one, self.other = (f"blkcolo-{os.getpid()}-{name}" for name in "ps")

    def create(self) -> None:
        """Raises FileNotFoundError, CalledProcessError where that is not allowed."""
        hosts = self.one, self.other
        ends = f"bp{os.getpid() % 100000}", f"bs{os.getpid() % 100000}"
        for host in hosts:
            _ip("netns", "add", host)
        _ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for host, end, address in zip(hosts, ends, ADDRESSES, strict=True):
            _ip("link", "set", end, "netns", host)
            _ip("-n", host, "link", "set", end, "name", "cable")
            _ip("-n", host, "address", "add", f"{address}/30", "dev", "cable")
            _ip("-n", host, "link", "set", "cable", "up")
            _ip("-n", host, "link", "set", "lo", "up")

    def plug(self, *, into: bool) -> None:
        """Plugs the cable in, or pulls it."""
        _ip("-n", self.one, "link", "set", "cable", "up" if into else "down")

    def delete(self) -> None:
        for host in (self.one, self.other):
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", host)


def on_host(name: str) -> tuple[str, ...]:
    """What a command begins with that is to run in a host's network.

    Not `ip netns exec`: that mounts another /sys as well, without the control groups.
    """
    return ("nsenter", f"--net=/run/netns/{name}")


@contextlib.contextmanager
def cabled_hosts() -> Iterator[CabledHosts]:
    """Both hosts; skips the test where there are no network namespaces."""
    hosts = CabledHosts()
    try:
        try:
            hosts.create()
        except (FileNotFoundError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no network namespaces here: {error}")
        yield hosts
    finally:
        hosts.delete()
