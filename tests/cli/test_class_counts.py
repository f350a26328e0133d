"""The first line of a run names the classes with their counts."""

from __future__ import annotations

import pytest

from deepal_autoal.cli.class_counts import format_classes


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        ([("cat", 1200), ("dog", 7)], "2 classes (cat 1,200, dog 7)"),
        ([("a\x1b[31m\nb", 1), ("x" * 40, 2)], f"2 classes (a�[31m b 1, {'x' * 23}… 2)"),
        ([(str(n), n + 1) for n in range(12)], None),
        ([(str(n), n + 1) for n in range(13)],
         "13 classes (0 1, 1 2, 2 3, 3 4, 4 5, 5 6, 6 7, 7 8, 8 9, 9 10, and 3 more of 11 to 13)"),
    ],
)  # fmt: skip
def test_classes_in_one_line(counts: list[tuple[str, int]], line: str | None) -> None:
    shown = format_classes(counts)
    if line is None:
        assert all(f"{name} {count}" in shown for name, count in counts) and "more" not in shown
    else:
        assert shown == line
