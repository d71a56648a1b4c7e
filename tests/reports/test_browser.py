"""The page in a real browser: opened, stepped through, by keyboard alone, narrow, printed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Page, sync_playwright

from models.schema.result import Result
from reports import html
from tests.reports.results import every_verdict, hostile_alone, hostile_result, toy_result
from tests.reports.test_html import INITIAL, change, example, long_result

pytestmark = [pytest.mark.needs_chromium, pytest.mark.xdist_group("chromium")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        yield started
        started.close()


Open = Callable[..., Page]


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Opens the page of a result; at the end nothing was logged and nothing asked for."""
    troubles: list[str] = []
    context = browser.new_context()

    def start(result: Result, width: int = 1280, scheme: str = "light") -> Page:
        path = tmp_path / "report.html"
        path.write_text(html.write(result), encoding="utf-8")
        page = context.new_page()
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        page.on("console", lambda message: troubles.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on("dialog", lambda dialog: troubles.append(f"dialog: {dialog.message}"))
        page.on(
            "request",
            lambda request: (
                troubles.append(f"request: {request.url}")
                if not request.url.startswith((path.as_uri(), "data:"))
                else None
            ),
        )
        page.goto(path.as_uri())
        return page

    yield start
    context.close()
    assert not troubles


def pictured() -> Result:
    """A divergence with every kind of picture, over three operations."""
    found = example(
        INITIAL,
        (change("pool.2M.free", 1, 1), change("inodes.h0.2.resv_map.regions.0.1", 3, 3)),
        (change("pool.2M.resv", 1, 1),),
        (change("pool.2M.resv", 2**64 - 1, 0), change("lists.0.hugepage_freelists.0.1", 1, 0)),
    )
    result = toy_result()
    pair = result.pairs[-1].model_copy(update={"counterexample": found})
    return result.model_copy(update={"pairs": (*result.pairs[:-1], pair)})


def place(page: Page) -> str:
    return page.locator(".stepper .place").last.inner_text()


def test_it_opens_at_the_first_difference_and_can_be_stepped(opened: Open) -> None:
    page = opened(pictured())
    stepper = page.locator(".stepper").last
    assert stepper.locator(".panel:visible").count() == 1
    assert "first difference" in stepper.locator(".panel:visible").inner_text()
    assert place(page) == "4 of 4"
    stepper.get_by_role("button", name="Back").click()
    assert place(page) == "3 of 4"
    assert "op1" in stepper.locator(".panel:visible h4").first.inner_text()
    stepper.get_by_role("button", name="First", exact=True).click()
    assert place(page) == "1 of 4"
    back = stepper.get_by_role("button", name="Back")
    assert back.get_attribute("aria-disabled") == "true"
    stepper.get_by_role("button", name="First difference").click()
    assert place(page) == "4 of 4"


def test_the_keyboard_is_enough(opened: Open) -> None:
    page = opened(pictured())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    stepper = page.locator(".stepper").last
    stepper.get_by_role("button", name="First", exact=True).focus()
    page.keyboard.press("Enter")
    assert place(page) == "1 of 4"
    page.keyboard.press("ArrowRight")
    assert place(page) == "2 of 4"
    stepper.locator(".list button").nth(1).focus()
    page.keyboard.press("ArrowDown")
    assert place(page) == "3 of 4"
    assert page.evaluate("document.activeElement.getAttribute('aria-current')") == "step"
    page.keyboard.press("End")
    assert place(page) == "4 of 4"


def test_the_theme_follows_the_system_and_can_be_switched(opened: Open) -> None:
    page = opened(toy_result(), scheme="dark")
    color = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(color)
    page.get_by_role("button", name="Light or dark").click()
    light = page.evaluate(color)
    assert light == "rgb(255, 255, 255)" != dark
    page.get_by_role("button", name="Light or dark").click()
    assert page.evaluate(color) == dark


@pytest.mark.parametrize("width", [360, 720, 1920])
def test_nothing_is_wider_than_the_window(opened: Open, width: int) -> None:
    page = opened(pictured(), width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_print_shows_every_operation(opened: Open) -> None:
    page = opened(pictured())
    page.emulate_media(media="print")
    stepper = page.locator(".stepper").last
    assert stepper.locator(".panel:visible").count() == 4
    assert not stepper.locator(".controls").is_visible()


def test_paper_is_white_whatever_the_screen_is(opened: Open) -> None:
    page = opened(pictured(), scheme="dark")
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_calls_are_folded_to_what_leads_to_the_difference(opened: Open) -> None:
    page = opened(toy_result())
    calls = page.locator(".calls").last
    assert calls.locator(".first:visible").count() == 2
    assert not calls.get_by_text("look_up").is_visible()
    fold = calls.locator("summary")
    fold.focus()
    page.keyboard.press("Enter")
    assert calls.get_by_text("look_up").is_visible()
    # Side by side where there is room, one below the other where there is not.
    boxes = [calls.locator(f".first.{side}").bounding_box() for side in ("before", "after")]
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[0]["y"] == boxes[1]["y"]
    page.set_viewport_size({"width": 360, "height": 900})
    boxes = [calls.locator(f".first.{side}").bounding_box() for side in ("before", "after")]
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[0]["y"] < boxes[1]["y"]


def test_without_script_every_operation_is_there(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(html.write(pictured()), encoding="utf-8")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(path.as_uri())
    assert page.locator(".stepper").last.locator(".panel:visible").count() == 4
    context.close()


@pytest.mark.parametrize("make", [hostile_result, hostile_alone])
def test_hostile_text_does_nothing(opened: Open, make: Callable[[], Result]) -> None:
    page = opened(make())
    assert page.locator("img").count() == 0
    assert "</script><script>alert(1)" in page.title()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("make", [pictured, every_verdict])
def test_axe_has_no_serious_finding(opened: Open, make: Callable[[], Result], scheme: str) -> None:
    page = opened(make(), scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    found = Axe().run(page).response["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert not serious, [(one["id"], one["nodes"][0]["html"][:200]) for one in serious]


def test_of_a_trace_of_ten_thousand_operations_one_panel_is_laid_out(opened: Open) -> None:
    page = opened(long_result(10_000))
    page.locator(".stepper").wait_for()
    assert page.locator(".panel:visible").count() == 1
    # What a browser opens at once; docs/reports.md has the times that were measured.
    assert page.evaluate("document.querySelectorAll('*').length") < 60_000
