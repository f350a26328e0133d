"""A worker process for probes: like `deepal_autoal.benchmark.backends.worker`, but it only measures."""

from __future__ import annotations

from deepal_autoal.benchmark.backends import worker
from deepal_autoal.benchmark.cost.probing import ProbeJob, Probes


def main() -> None:
    """Probe until standard input ends."""
    probes = Probes()
    worker.main(lambda given, report: probes.execute(ProbeJob(**given), report))


if __name__ == "__main__":
    main()
