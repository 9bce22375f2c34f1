"""The documents point at what is there, and say what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from blkcolo.process import service
from blkcolo.storage.records import VERSION

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def anchors(page: Path) -> set[str]:
    """The headings of a page, as links name them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    for page in PAGES[1:]:
        assert page.name == "README.md" or f"({page.name})" in index


def test_operating_guide_has_the_exit_codes_and_the_time_of_a_stop() -> None:
    guide = (ROOT / "docs" / "operating.md").read_text()
    rows = set(re.findall(r"^\| (\d+) \|", guide, re.MULTILINE))
    codes = service.EXIT_OK, service.EXIT_CANNOT_START, service.EXIT_UNFINISHED
    assert rows == {str(code) for code in codes}
    assert "told to stop while it started" in guide
    assert f"{service.STOP_SECONDS:.0f} seconds at most" in guide
    assert (
        f"this program knows {VERSION}:" in (ROOT / "docs" / "upgrading.md").read_text()
    )
