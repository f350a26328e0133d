"""The labeling page in a real browser, by keyboard, with a server that is killed."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deepal_autoal.labeling.project import Project
from tests.browser import NEEDS_BROWSER, browser
from tests.labeling.conftest import truth

pytest.importorskip("selenium.webdriver")

pytestmark = [pytest.mark.slow, NEEDS_BROWSER]


@pytest.fixture
def driver(tmp_path):
    with browser(tmp_path / "profile", (1000, 800)) as driver:
        yield driver


def serve(port):
    """Start the command in a process of its own."""
    # A shell's background job ignores the signal that ends the command, and its children inherit that.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "deepal_autoal", "label", "serve", "p", "--port", str(port), "--no-browser"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, previous)


def labels_of():
    state = Project(Path("p")).state
    return {state.ids[row]: label for row, label in state.labels.items()}


def until(condition):
    """Wait until a condition holds, and return its value."""
    for _ in range(6000):
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError("it did not happen")


class Page:
    """The page, and what a person does with it."""

    def __init__(self, driver):
        self.driver = driver

    def of(self, selector):
        return self.driver.find_element("css selector", selector)

    def name(self):
        return self.of("#name").text

    def press(self, *keys):
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def act(self, *keys):
        """Press keys that lead to another sample, and return the name of the one that was shown before."""
        name = until(self.name)
        self.press(*keys)
        until(lambda: self.name() not in ("", name))
        return name

    def label(self, count):
        """Label samples truthfully by keyboard, and return their names."""
        names = []
        for _ in range(count):
            label = truth(until(self.name))
            buttons = self.driver.find_elements("css selector", "#classes button")
            # The key is for the eyes; it is no part of the name.
            key = {button.accessible_name: button.find_element("css selector", "kbd").text for button in buttons}
            if label in key:
                names.append(self.act(key[label]))
            else:
                self.press("n")
                names.append(self.act(label, "\ue007"))
        return names


def test_thirty_samples_by_keyboard_and_a_kill(project, driver):
    from selenium.webdriver.common.keys import Keys

    assert Keys.ENTER == "\ue007"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = serve(port)
    try:
        address = server.stdout.readline().split()[2]
        driver.get(address)
        page = Page(driver)
        names = page.label(30)
        assert labels_of() == {name: truth(name) for name in names} and len(labels_of()) == 30
        assert page.act("u") == str(Project(Path("p")).state.batches[-1].rows[0])
        assert page.act(Keys.BACKSPACE) == names[29]
        assert set(labels_of()) == set(names[:28]) and page.name() == names[28]
        assert page.of("#skip").accessible_name == "Skip: cannot tell"
        assert page.of("#classes button").get_attribute("aria-keyshortcuts") == "1"
        page.press("z")
        assert page.of("#zoom").get_attribute("aria-pressed") == "true"
        page.press("g")
        until(lambda: "guess:" in page.of("#message").text)
        assert driver.get_log("browser") == []
        server.kill()
        server.wait()
        page.press("s")
        until(lambda: "No connection" in page.of("#message").text)
        assert set(labels_of()) == set(names[:28])
        server.stdout.close()
        server = serve(port)
        until(lambda: page.of("#message").text == "")
        page.label(2)
        assert labels_of().items() >= {name: truth(name) for name in names[:28]}.items() and len(labels_of()) == 30
        page.act("s")
        assert len(Project(Path("p")).state.skipped) == 1
        width = driver.execute_script("return document.documentElement.scrollWidth - innerWidth")
        assert width <= 0
        server.send_signal(signal.SIGINT)
        assert server.wait(60) == 0 and "30 of 40 samples are labeled" in server.stdout.read()
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
