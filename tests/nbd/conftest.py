"""One primary with a volume of odd size, for NBD clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.stack import MIB, ODD_SIZE, Stack

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """disk0 has an odd size, disk1 is 256 MiB."""
    folder = tmp_path_factory.mktemp("nbd")
    stack = Stack(folder, sizes=(ODD_SIZE, 256 * MIB))
    try:
        stack.start("primary")
        yield stack
    finally:
        stack.close()
