"""Times in words."""

from deepal_autoal.measuring.resources import format_seconds


def test_times_in_words():
    assert [format_seconds(seconds) for seconds in (0.04, 9.96, 59.4, 59.6, 80, 3725)] == [
        "0.0 s", "10 s", "59 s", "1 min 00 s", "1 min 20 s", "1 h 02 min",
    ]  # fmt: skip
