"""A journal that is written anew while another thread makes it durable."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING
from unittest.mock import patch

from blkcolo_secondary.record import group_journal
from blkcolo_secondary.record.group_journal import GroupJournal
from tests.memory_files import MemoryFolder

if TYPE_CHECKING:
    import pytest


def test_sync_of_a_journal_that_was_replaced_meanwhile_succeeds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The new file was durable before it took the old one's place."""
    monkeypatch.setattr(group_journal, "_COMPACT_ABOVE", 0)
    monkeypatch.setattr(group_journal, "_COMPACT_RECORDS", 0)
    folder = MemoryFolder()
    journal = GroupJournal(folder, host=True)
    journal.commit(committed=3)
    replaced = journal._log

    def closed_meanwhile() -> None:
        journal.update(generation=7)
        assert journal._log is not replaced
        raise OSError(errno.EBADF, "closed")

    with patch.object(replaced, "sync", closed_meanwhile):
        journal.sync()
    again = GroupJournal(folder, host=True).state
    assert (again.committed, again.generation) == (3, 7)
