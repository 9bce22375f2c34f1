"""Plants a defect: patches a module's source while it is imported."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType

    from tests.sim.defects.defect import Defect


def plant(defect: Defect) -> None:
    """From here on this process imports the module with its defect."""
    sys.meta_path.insert(0, _Finder(defect))


def occurrences(defect: Defect) -> int:
    """How often the old text is in the module's source."""
    spec = importlib.util.find_spec(defect.module)
    assert spec is not None
    assert isinstance(spec.loader, importlib.machinery.SourceFileLoader)
    source: str = spec.loader.get_source(defect.module) or ""
    return source.count(defect.old)


class _PatchedLoader(importlib.machinery.SourceFileLoader):
    """Loads the module with its defect; never from or into the cache."""

    def __init__(self, defect: Defect, path: str) -> None:
        super().__init__(defect.module, path)
        self._defect = defect

    def get_code(self, fullname: str) -> CodeType:
        source = self.get_source(fullname) or ""
        changed = source.replace(self._defect.old, self._defect.new)
        assert changed != source, f"{self._defect.name}: its text is not there"
        code: CodeType = self.source_to_code(changed, self.path)
        return code


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the defective module before the sound one is found."""

    def __init__(self, defect: Defect) -> None:
        self._defect = defect

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname != self._defect.module:
            return None
        found = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        assert found is not None
        assert found.origin is not None
        loader = _PatchedLoader(self._defect, found.origin)
        return importlib.util.spec_from_file_location(
            fullname, found.origin, loader=loader
        )
