"""The status page under a pointer, under a keyboard, and while things happen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from blkcolo.v1 import coordinator_pb2 as pb
from tests.stack import MIB, Stack, running, wait_until
from tests.tools import require_tool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver.remote.webelement import WebElement

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("live")
    with running(folder, sizes=(MIB,), max_interval=0.1) as stack:
        yield stack


@pytest.fixture
def other_groups(stack: Stack) -> Iterator[list[str]]:
    """Ten more, which the nodes do not know, so that they are never protected."""
    names = [f"other{number}" for number in range(10)]
    for name in names:
        spec = pb.GroupSpec(
            name=name,
            primary_address=stack.address("primary"),
            secondary_address=stack.address("secondary"),
        )
        stack.coordinator.CreateGroup(pb.CreateGroupRequest(spec=spec), timeout=5)
    yield names
    for name in names:
        stack.coordinator.DeleteGroup(pb.DeleteGroupRequest(group=name), timeout=5)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = require_tool("chromium")
    for each in (
        *("headless=new", "no-sandbox", "disable-gpu", "no-first-run"),
        *("disable-background-networking", "window-size=1100,1400"),
        f"user-data-dir={tmp_path_factory.mktemp('browser')}",
    ):
        options.add_argument(f"--{each}")
    service = webdriver.ChromeService(require_tool("chromedriver"))
    browser = webdriver.Chrome(options, service)
    try:
        yield browser
    finally:
        browser.quit()


def open_page(browser: webdriver.Chrome, stack: Stack) -> None:
    browser.get(f"http://127.0.0.1:{stack.metrics['coordinator']}/")
    browser.execute_script("window.loadedOnce = true")
    wait_until(lambda: state(browser) == "protected", "the page shows the group")


def state(browser: webdriver.Chrome) -> str:
    """What the page says of the group; nothing while it says nothing."""
    read = "return document.querySelector('[data-group=vm1]')?.dataset.state ?? ''"
    return str(browser.execute_script(read))


def shown_run(browser: webdriver.Chrome) -> str:
    """What is told below the timeline."""
    read = "return document.querySelector('.legend output')?.textContent ?? ''"
    return str(browser.execute_script(read))


def redrawn(browser: webdriver.Chrome) -> None:
    """Waits until the page has drawn itself twice more."""
    mark = "document.querySelector('.timeline').dataset.old = 1"
    fresh = "return document.querySelector('.timeline').dataset.old === undefined"
    for _ in range(2):
        browser.execute_script(mark)
        wait_until(lambda: browser.execute_script(fresh), "it is drawn again")


def newest_run(browser: webdriver.Chrome) -> WebElement:
    return browser.find_elements(By.CSS_SELECTOR, ".run")[-1]


def test_pointer_and_keyboard_tell_a_checkpoint_and_keep_telling_it(
    browser: webdriver.Chrome, stack: Stack
) -> None:
    stack.checkpoint()
    stack.pause()
    epoch = stack.group().committed_epoch
    open_page(browser, stack)
    ActionChains(browser).move_to_element(newest_run(browser)).perform()
    told = f"checkpoint {epoch} at"
    wait_until(lambda: shown_run(browser).startswith(told), "the pointer's is told")
    redrawn(browser)
    assert shown_run(browser).startswith(told)

    ActionChains(browser).move_by_offset(0, 500).perform()
    browser.execute_script("document.querySelector('.run[tabindex=\"0\"]').focus()")
    wait_until(lambda: shown_run(browser).startswith(told), "the newest has the focus")
    press(browser, Keys.ARROW_LEFT)
    before = shown_run(browser)
    assert before.startswith(f"checkpoint {epoch - 1} at")
    redrawn(browser)
    assert shown_run(browser) == before
    press(browser, Keys.ARROW_RIGHT)
    assert shown_run(browser).startswith(told)
    press(browser, Keys.HOME)
    assert not shown_run(browser).startswith(told)
    press(browser, Keys.TAB)  # a whole timeline is one stop
    focused = browser.switch_to.active_element
    assert focused.tag_name == "summary"
    press(browser, Keys.ENTER)
    redrawn(browser)
    assert browser.find_element(By.CSS_SELECTOR, "details").get_attribute("open")
    stack.resume()


def press(browser: webdriver.Chrome, key: str) -> None:
    ActionChains(browser).send_keys(key).perform()


def test_many_groups_are_folded_and_unfold(
    browser: webdriver.Chrome, stack: Stack, other_groups: list[str]
) -> None:
    open_page(browser, stack)
    cards = browser.find_elements(By.CSS_SELECTOR, "[data-group]")
    *trouble, last = [card.get_attribute("data-group") for card in cards]
    assert trouble == other_groups
    assert last == "vm1"  # it is protected
    body = "return document.querySelector('[data-group=vm1] .body') !== null"
    assert not browser.execute_script(body)
    other = "return document.querySelector('[data-group=other3] .body') !== null"
    assert browser.execute_script(other)
    button = "document.querySelector('[data-group=vm1] button').focus()"
    browser.execute_script(button)
    press(browser, Keys.ENTER)
    assert browser.execute_script(body)
    redrawn(browser)
    assert browser.execute_script(body)
    press(browser, Keys.ENTER)  # the focus is where it was
    assert not browser.execute_script(body)


def test_page_follows_what_happens_without_being_loaded_again(
    browser: webdriver.Chrome, stack: Stack
) -> None:
    open_page(browser, stack)
    stack.kill("primary")
    wait_until(lambda: state(browser) == "unprotected", "the dead primary is seen")
    text = browser.find_element(By.TAG_NAME, "main").text
    assert "blkcolo failover vm1 --force" in text
    assert browser.title.startswith("✗")
    stack.failover(force=True)
    wait_until(lambda: state(browser) == "failed_over", "the failover is seen")
    stack.stop("coordinator")
    link = browser.find_element(By.ID, "link")
    wait_until(lambda: "does not answer since" in link.text, "the silence is seen")
    stack.start("coordinator")
    wait_until(lambda: link.text.startswith("live"), "it is live again")
    assert browser.execute_script("return window.loadedOnce")
