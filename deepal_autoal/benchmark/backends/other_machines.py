"""What a backend needs to execute runs on other machines: portable jobs, and the same versions there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version

from deepal_autoal.benchmark.backends.job import Job
from deepal_autoal.datasets import data_folder
from deepal_autoal.experiment.versions import versions
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.strategies.candidate_selection import CandidateSelection
from deepal_autoal.user_paths import user_path


def with_absolute_paths(job: Job) -> Job:
    """Return a job that means the same in another working directory and without this process's environment."""
    settings = dict(job.settings)
    if settings.get("dataset") not in plugin_host().datasets:  # a path, perhaps relative
        settings["dataset"] = os.path.abspath(user_path(settings["dataset"], "--dataset"))
    settings["data_dir"] = os.path.abspath(data_folder(settings.get("data_dir")))
    model = None if job.initial_model is None else os.path.abspath(job.initial_model)
    return replace(job, settings=settings, folder=os.path.abspath(job.folder), initial_model=model)


def required_versions(job: Job) -> dict[str, str]:
    """Return the versions, by distribution, that every machine needs: packages that affect numbers, and strategies."""
    strategies = plugin_host().strategies
    name, candidates = job.settings["strategy"], job.settings.get("candidates")
    names = [name, *(CandidateSelection.parse(candidates, name).names if candidates else ())]
    providers = [strategies.get(name).provider for name in names if name in strategies]
    return {**versions(), **{provider.distribution: provider.version for provider in providers}}


def version_difference(required: Mapping[str, str]) -> str | None:
    """Return which required distribution is missing here or has another version; None if all match."""
    here = versions()
    for name, wanted in required.items():
        found = here.get(name)
        if found is None:
            with suppress(PackageNotFoundError):
                found = version(name)
        if found != wanted:
            return f"{name} is {found or 'not installed'} there and {wanted} here"
    return None
