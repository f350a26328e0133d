"""A real browser for tests of pages; `NEEDS_BROWSER` skips them where there is none."""

import os
import shutil
from contextlib import contextmanager

import pytest

BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
NEEDS_BROWSER = pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs Chromium and chromedriver")


@contextmanager
def browser(profile, size):
    """Run a browser without a window inside the block; its driver keeps the console's log.

    Args:
        profile: A folder for its files.
        size: Width and height of a page.
    """
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--window-size={size[0]},{size[1]}", f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # With both paths given, selenium searches for nothing; this keeps it off the network in any case.
    os.environ["SE_OFFLINE"] = "true"
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()
