"""A run's profile as JSON, Markdown and terminal output."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepal_autoal.files import write_bytes
from deepal_autoal.measuring.profile import OTHER, Part, Phase, Profile

FORMAT_VERSION = 1
PROFILE, PROFILE_TEXT = "profile.json", "profile.md"


def write_profile(profile: Profile, folder: Path) -> Path:
    """Write ``profile.json`` and ``profile.md`` into a run folder, atomically; returns the latter's path.

    Raises:
        RunFolderError: If they cannot be written.
    """
    write_bytes(folder / PROFILE, (json.dumps(describe(profile), indent=1) + "\n").encode())
    write_bytes(folder / PROFILE_TEXT, markdown(profile).encode())
    return folder / PROFILE_TEXT


def describe(profile: Profile) -> dict[str, Any]:
    """Return what ``profile.json`` holds."""
    return {
        "format_version": FORMAT_VERSION,
        "is_resumed": profile.is_resumed,
        "seconds": profile.seconds,
        "phases": [
            {
                "phase": phase.name,
                "parts": {
                    name: {"seconds": part.seconds, "waiting": part.waiting, "times": part.times}
                    for name, part in phase.parts.items()
                },
                "samples": {"passed": phase.n_passed, "again": phase.n_again},
            }
            for phase in profile.phases
        ],
    }


def totals(phases: Sequence[Phase]) -> dict[str, Part]:
    """Return each part's sums over phases, the longest first, `OTHER` last."""
    sums: dict[str, Part] = {}
    for phase in phases:
        for name, part in phase.parts.items():
            total = sums.setdefault(name, Part())
            total.seconds += part.seconds
            total.waiting += part.waiting
            total.times += part.times
    return dict(sorted(sums.items(), key=lambda item: (item[0] == OTHER, -item[1].seconds)))


def total_rows(profile: Profile) -> tuple[list[str], list[list[str]]]:
    """Return the header and rows of the table for the whole run."""
    whole = profile.seconds or 1.0
    parts = totals(profile.phases)
    everything = Part(profile.seconds, sum(part.waiting for part in parts.values()))
    rows = [
        [name, f"{part.seconds:.3f}", f"{part.seconds / whole:.1%}", f"{part.waiting:.3f}", str(part.times or "")]
        for name, part in [*parts.items(), ("all", everything)]
    ]
    return ["part", "seconds", "share", "waiting", "times"], rows


def remarks(profile: Profile) -> list[str]:
    """Return the sentences printed below the table."""
    passed = sum(phase.n_passed for phase in profile.phases)
    again = sum(phase.n_again for phase in profile.phases)
    lines = [
        f"{passed} samples passed through models; {again} of them had already passed through the same model in the "
        "same round."
    ]
    if profile.is_resumed:
        first = next((phase.name for phase in profile.phases[1:]), "no round")
        lines.append(f"The run was resumed: this profile covers only its last process, from {first} on.")
    return lines


def markdown(profile: Profile) -> str:
    """Return ``profile.md``: the whole run, then every phase."""
    names = list(totals(profile.phases))
    head = ["phase", "all", *names, "waiting", "samples", "again"]
    rows = []
    for phase in profile.phases:
        parts = phase.parts
        seconds = [f"{parts[name].seconds:.3f}" if name in parts else "" for name in names]
        whole, waiting = (sum(getattr(part, what) for part in parts.values()) for what in ("seconds", "waiting"))
        rows.append([phase.name, f"{whole:.3f}", *seconds, f"{waiting:.3f}", str(phase.n_passed), str(phase.n_again)])
    return "\n".join(
        [
            "# Profile",
            "",
            "Wall time in seconds. A part's time excludes the parts inside it, so the parts add up to the whole. "
            "*Waiting* is time in which the main thread did not compute but waited for the disk, the device, other "
            "threads or other programs.",
            "",
            *_table(*total_rows(profile)),
            "",
            " ".join(remarks(profile)),
            "",
            "## By phase",
            "",
            *_table(head, rows),
            "",
        ]
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]
