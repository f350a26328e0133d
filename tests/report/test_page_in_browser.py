"""The page in a real browser: no errors, toggled and sorted with the keyboard, no wider than a phone."""

import pytest

from tests.browser import NEEDS_BROWSER, browser

pytest.importorskip("selenium.webdriver")

pytestmark = NEEDS_BROWSER


@pytest.fixture(scope="module")
def address(study_folder, tmp_path_factory):
    from deepal_autoal.report import make_contents, write_page
    from deepal_autoal.report.figure_list import Drawings

    path = tmp_path_factory.mktemp("page") / "report.html"
    return write_page(Drawings(make_contents([study_folder])), path).as_uri()


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile"), (1200, 900)) as driver:
        yield driver


@pytest.fixture
def page(driver, address):
    """The page, freshly loaded in a wide window; at the end the console must be empty."""
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.get_log("browser")
    driver.get(address)
    yield driver
    assert driver.get_log("browser") == []


def keys():
    from selenium.webdriver.common.keys import Keys

    return Keys


def key_of(page, name):
    return next(key for key in page.find_elements("css selector", ".legend .key") if key.text == name)


def visible(page, key):
    """Return how many marks of a strategy are drawn, and how many of its rows are shown."""
    return page.execute_script(
        """const [key] = arguments;
           const shown = (all) => [...document.querySelectorAll(all)].filter((one) =>
             getComputedStyle(one).display !== "none").length;
           return [shown(`svg [id*="--${key}--"]`), shown(`main > section > .scroll tr[data-strategy="${key}"]`)]""",
        key.get_attribute("data-strategy"),
    )


def test_the_console_is_empty_and_ids_are_unique(page):
    assert page.title.startswith("Active learning strategies compared")
    ids = page.execute_script("return [...document.querySelectorAll('[id]')].map((one) => one.id)")
    assert len(ids) == len(set(ids)) > 100
    assert all(button.is_enabled() for button in page.find_elements("css selector", ".legend button"))


def test_a_strategy_is_toggled_with_the_keyboard_in_every_figure_and_table(page):
    good, other = key_of(page, "good"), key_of(page, "picker")
    before, before_other = visible(page, good), visible(page, other)
    assert before[0] > 8 and before[1] >= 7
    page.execute_script("arguments[0].focus()", good)
    page.switch_to.active_element.send_keys(keys().SPACE)
    assert good.get_attribute("aria-pressed") == "false"
    assert visible(page, good) == [0, 0]
    # A cell of the heat map belongs to two strategies.
    assert 0 < visible(page, other)[0] < before_other[0] and visible(page, other)[1] == before_other[1]
    page.switch_to.active_element.send_keys(keys().ENTER)
    assert good.get_attribute("aria-pressed") == "true" and visible(page, good) == before


def test_all_and_none(page):
    page.find_element("id", "show-none").click()
    assert [visible(page, key_of(page, name)) for name in ("good", "random")] == [[0, 0], [0, 0]]
    page.find_element("id", "show-all").click()
    assert all(key.get_attribute("aria-pressed") == "true" for key in page.find_elements("css selector", ".key"))
    assert visible(page, key_of(page, "good"))[0] > 8


def test_focus_highlights_a_strategy(page):
    page.execute_script("document.querySelector('#show-all').focus()")
    buttons = page.find_elements("css selector", ".legend .key")
    page.switch_to.active_element.send_keys(keys().SHIFT + keys().TAB)  # the last key, focused by keyboard
    chosen = page.switch_to.active_element.get_attribute("data-strategy")
    assert chosen == buttons[-1].get_attribute("data-strategy")
    faded = page.execute_script("return [...document.querySelectorAll('svg .is-faded')].map((one) => one.id)")
    assert faded and not [one for one in faded if f"--{chosen}--" in one]
    assert page.find_elements("css selector", f'tr.is-lit[data-strategy="{chosen}"]')


def test_a_table_is_sorted_with_the_keyboard(page):
    table = page.find_element("css selector", "table[id^=accuracy]")
    head = next(one for one in table.find_elements("css selector", "thead th") if "final accuracy" in one.text)
    button = head.find_element("css selector", "button")

    def column():
        return page.execute_script(
            "const cells = [...arguments[0].tBodies[0].rows].map((row) => row.cells[4]);"
            "return cells.map((cell) => Number(cell.dataset.sort ?? cell.textContent))",
            table,
        )

    page.execute_script("arguments[0].focus()", button)
    page.switch_to.active_element.send_keys(keys().ENTER)
    assert head.get_attribute("aria-sort") == "descending" and column() == sorted(column(), reverse=True)
    page.switch_to.active_element.send_keys(keys().ENTER)
    assert head.get_attribute("aria-sort") == "ascending" and column() == sorted(column())
    other = table.find_elements("css selector", "thead th")[0]
    other.find_element("css selector", "button").click()
    assert head.get_attribute("aria-sort") is None and other.get_attribute("aria-sort") == "ascending"
    names = [row.text for row in table.find_elements("css selector", "tbody th")]
    assert names == ["bad<b>&", "entropy", "good", "picker", "random"]


def test_missing_values_are_last_in_both_directions(page):
    table = page.find_element("css selector", "table[id^=accuracy]")
    head = next(one for one in table.find_elements("css selector", "thead th") if "minus" in one.text)
    for _ in range(2):
        head.find_element("css selector", "button").click()
        assert table.find_elements("css selector", "tbody th")[-1].text == "random"


def test_on_a_phone_the_page_does_not_scroll_sideways(page):
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    page.execute_script("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    width, room = page.execute_script(
        "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert width == room == 360
    # Wider parts scroll in their own frames, which the keyboard reaches.
    assert page.execute_script(
        """const wide = [...document.querySelectorAll(".scroll")].filter((one) => one.scrollWidth > one.clientWidth);
           window.dispatchEvent(new Event("resize"));
           return wide.length > 0 && wide.every((one) => one.tabIndex === 0)"""
    )
    assert page.execute_script("return document.querySelector('.legend').getBoundingClientRect().height") < 120
    hint = "return getComputedStyle(document.querySelector('.drawing'), '::before').content"
    assert "scroll" in page.execute_script(hint)
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert page.execute_script(hint) == "none"


def test_on_paper_everything_is_open_and_nothing_sticks(page, tmp_path):
    page.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    assert not page.find_elements("css selector", "details:not([open])")
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    style = "return getComputedStyle(document.querySelector('.legend')).position"
    assert page.execute_script(style) == "static"
    assert page.execute_script(
        """return [...document.querySelectorAll("td.number")]
           .every((one) => getComputedStyle(one).whiteSpace === "nowrap")"""
    )
    # Both datasets' tables have the same explanations: on paper, each is shown once.
    explanations = page.execute_script(
        """return [...document.querySelectorAll("details.how")]
           .filter((one) => one.getClientRects().length).map((one) => one.querySelector("dl").textContent)"""
    )
    assert len(explanations) == len(set(explanations)) >= 5
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert page.execute_script(style) == "sticky"
    shown = "return [...document.querySelectorAll('details.how')].every((one) => one.getClientRects().length)"
    assert page.execute_script(f"document.querySelectorAll('details').forEach((one) => one.open = true); {shown}")


def test_without_script_the_page_is_complete(page):
    page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page.refresh()
        text = page.find_element("css selector", "body").text
        assert "good has the highest mean AUBC" in text and not page.find_elements("css selector", "thead button")
        assert not any(button.is_enabled() for button in page.find_elements("css selector", ".legend button"))
    finally:
        page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
