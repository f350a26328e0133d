"""Backends by name: a third party's is found, checked and used as the built-in ones; a broken one hinders no other."""

import json
import queue
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from deepal_autoal import ScoringStrategy, hookimpl
from deepal_autoal.benchmark import (
    Backend,
    Job,
    WorkerProcess,
    read_run_folder,
    required_versions,
    run_benchmark,
    with_absolute_paths,
)
from deepal_autoal.benchmark.backends.local import Local
from deepal_autoal.benchmark.backends.names import create_backend
from deepal_autoal.errors import (
    InputError,
    PluginCodeError,
    PluginError,
    QueryError,
    RunFolderError,
    UnknownNameError,
)
from deepal_autoal.plugins.host import PluginHost, plugin_host
from tests.benchmark.run_files import runs_of, untimed

HEAD = """
from deepal_autoal import InputError, hookimpl
from deepal_autoal.benchmark import Backend

@hookimpl
def deepal_register_backends(registry):
    registry.add("NAME", "TARGET")

"""
SERIAL = (
    HEAD
    + """
class Serial(Backend):
    \"\"\"One run after the other, from the last to the first.\"\"\"

    def __init__(self, log: str = "log.txt", address: str | None = None, n_slots: int = 2) -> None:
        if n_slots < 1:
            raise InputError("n_slots: give at least 1")
        self.log, self.n_slots = log, n_slots

    def threads(self, n_jobs):
        return 1

    def open(self, workload):
        with open(self.log, "a") as file:
            print("open", workload.n_runs, workload.n_jobs, workload.threads, workload.device, file=file)
        return Executor(self.log, self.n_slots)


class Executor:
    def __init__(self, log, n_slots):
        self.log, self.n_slots, self.jobs = log, n_slots, []

    def start(self, job):
        self.jobs.append(job)

    def wait(self, on_message):
        job = self.jobs.pop()
        job.execute(lambda message: on_message(job, message))

    def close(self):
        with open(self.log, "a") as file:
            print("close", len(self.jobs), file=file)
"""
)


@pytest.fixture
def fresh_host(monkeypatch):
    """Return a function that finds all plugins again, for this test's backends only."""
    plugin_host()  # the process keeps the first one: it is not to know a test's distributions

    def find():
        host = PluginHost()
        host.load_entry_points()
        monkeypatch.setattr("deepal_autoal.benchmark.backends.names.plugin_host", lambda: host)
        return host

    return find


@pytest.fixture
def serial(distribution, fresh_host):
    source = SERIAL.replace("NAME", "serial").replace("TARGET", "serial_backend:Serial")
    distribution("deepal-serial", "0.3", {"serial": "serial_backend"}, serial_backend=source)
    return fresh_host()


def registering(target):
    """Return a plugin of this process that registers a backend named ``odd``."""

    class Plugin:
        @hookimpl
        def deepal_register_backends(self, registry):
            registry.add("odd", target)

    return Plugin()


@pytest.mark.usefixtures("serial")
def test_a_third_partys_backend_executes_a_benchmark(tmp_path, blob_file, quick, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quick = {name: value for name, value in quick.items() if name != "threads"}
    grid = ("random,margin", [blob_file], 1)
    rounds = []
    serial = {**quick, "backend": "serial[log=calls.txt]"}
    result = run_benchmark(*grid, "out", on_round=lambda run, record: rounds.append(run), **serial)
    assert result.failures == () and len(rounds) == 2 * (quick["rounds"] + 1)
    run_benchmark(*grid, "out", **serial)  # nothing is left to do: not opened again
    assert (tmp_path / "calls.txt").read_text() == "open 2 None 1 None\nclose 0\n"
    run_benchmark(*grid, "here", **quick, threads=1)
    assert len(runs_of(tmp_path / "here")) == 2
    for folder in runs_of(tmp_path / "here"):
        assert untimed(tmp_path / "out" / folder) == untimed(tmp_path / "here" / folder)
    assert json.loads((tmp_path / "out" / folder / "config.json").read_text())["threads"] == 1


@pytest.mark.slow
def test_the_documented_example_executes_a_benchmark(distribution, fresh_host, tmp_path, blob_file, quick):
    page = (Path(__file__).resolve().parents[2] / "docs" / "plugins.md").read_text()
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "(Backend)" in block)
    plugin = HEAD.replace("NAME", "pool").replace("TARGET", "pool_backend:Pool")
    distribution("deepal-pool", "1", {"pool": "pool_plugin"}, pool_plugin=plugin, pool_backend=code)
    fresh_host()
    result = run_benchmark("random,margin", [blob_file], 1, tmp_path, backend="pool[workers=1]", **quick)
    assert result.failures == () and len(runs_of(tmp_path)) == 2


def test_plugins_shows_backends(serial):
    described = {plugin["name"]: plugin for plugin in serial.describe()}
    assert described["deepal-serial"]["summary"] == "backend serial"
    assert "2 backends" in described["deepal_autoal"]["summary"]
    assert {"backend local", "backend ray"} <= set(described["deepal_autoal"]["provides"])


def test_options_have_flags_or_brackets(serial):
    assert create_backend("serial[n_slots=3]", address="here", cpus_per_run=None).n_slots == 3
    with pytest.raises(InputError, match="--address needs --backend ray or serial"):
        create_backend("local", address="here")
    with pytest.raises(InputError, match=r"--address gives the same option"):
        create_backend("serial[address=there]", address="here")
    with pytest.raises(InputError, match=r"backend 'serial' of deepal-serial 0\.3: n_slots: give at least 1"):
        create_backend("serial[n_slots=0]")
    with pytest.raises(UnknownNameError, match="unknown option of backend 'serial': 'slots'"):
        create_backend("serial[slots=1]")


def test_an_unknown_name_is_one_line_with_the_known_names(deepal):
    status, _, errors = deepal("benchmark", "--strategies", "random", "--backend", "xyz")
    assert (status, errors) == (2, "Error: unknown backend 'xyz'. Known: local, ray.\n")


def test_a_broken_backend_is_reported_when_it_is_named_and_hinders_no_other(
    distribution, fresh_host, serial, tmp_path, blob_file, quick
):
    distribution("bad", "1", {"gone": "bad_import"}, bad_import="import no_such_scheduler")
    source = HEAD.replace("NAME", "late").replace("TARGET", "no_such_module:Late")
    distribution("worse", "2", {"late": "late_import"}, late_import=source)
    host = fresh_host()
    with pytest.raises(PluginError, match=r"'gone' is unavailable: the plugin of bad 1 failed.*no_such_scheduler"):
        create_backend("gone")
    with pytest.raises(PluginError, match=r"backend 'late' of worse 2 cannot be imported.*no_such_module"):
        create_backend("late")
    with pytest.raises(InputError, match="--address needs --backend ray or serial"):  # looks into every backend
        create_backend("local", address="here")
    assert {"local", "ray", "serial", "late"} == set(host.backends.names())
    assert run_benchmark("random", [blob_file], 1, tmp_path / "out", **quick).failures == ()


class Lacking(Local):
    def open(self):
        pass


class Needy(Local):
    def __init__(self, queue):
        pass


class Unnamed:
    def open(self, workload):
        pass


@pytest.mark.parametrize(
    "target, message",
    [
        (Lacking, r"Lacking\.open\(self\) cannot be called with \(self, workload\)"),
        (Needy, r"Needy\(queue\) cannot be called with \(\)"),
        (Unnamed, r"must be a subclass of deepal_autoal\.benchmark\.Backend"),
        (Local.__mro__[1], "Backend does not implement open"),
        (print, r"must be a subclass of deepal_autoal\.benchmark\.Backend"),
    ],
)
def test_a_class_that_is_no_backend_is_refused(target, message):
    with pytest.raises(PluginError, match=message):
        plugin_host().register(registering(target), "odd")


class Failing(Local):
    """Fails where its argument says."""

    def __init__(self, where: str = "init") -> None:
        self.where = where
        self._fail("init")

    def _fail(self, here):
        if here == self.where:
            raise OSError("no scheduler")

    def threads(self, n_jobs):
        self._fail("threads")
        return super().threads(n_jobs)

    def open(self, workload):
        self._fail("open")
        return super().open(workload)


@pytest.mark.parametrize(
    "where, kind, message",
    [
        ("init", PluginCodeError, "failed: OSError: no scheduler"),
        ("threads", QueryError, "failed in device or threads: OSError: no scheduler"),
        ("open", QueryError, "failed in open: OSError: no scheduler"),
    ],
)
def test_an_error_in_a_backends_code_names_its_distribution(
    registered, tmp_path, blob_file, quick, where, kind, message
):
    registered(registering(Failing), "failing")
    with pytest.raises(kind, match=f"backend 'odd' of this process {message}"):
        run_benchmark("random", [blob_file], 1, tmp_path / "out", backend=f"odd[where={where}]", **quick)


@dataclass(frozen=True)
class Frozen(Backend):
    """Its attributes cannot be assigned in the usual way."""

    def open(self, workload):
        return Local().open(workload)


def test_a_backend_may_be_a_frozen_dataclass(registered, tmp_path, blob_file, quick):
    registered(registering(Frozen), "frozen")
    assert run_benchmark("random", [blob_file], 1, tmp_path / "out", backend="odd", **quick).failures == ()


class Odd(Local):
    """Returns what its options say."""

    def __init__(self, device: str = "cpu", threads: str = "1", executor: str = "") -> None:
        self._device, self._threads, self._executor = device, threads, executor

    def device(self, device):
        return {"none": None, "three": 3}.get(self._device, self._device)

    def threads(self, n_jobs):
        return {"1": 1, "numpy": np.int64(1), "half": 1.5, "0": 0, "huge": 10**10}.get(self._threads, self._threads)

    def open(self, workload):
        executor = super().open(workload)
        match self._executor:
            case "none":
                return None
            case "no slots":
                executor.n_slots = 0
            case "stranger":
                executor.wait = lambda on_message: on_message(Job("x", "/x", {}), {"kind": "round"})
            case "no kind":
                start = executor.start
                executor.start = lambda job: (start(job), setattr(executor, "job", job))
                executor.wait = lambda on_message: on_message(executor.job, {})
            case "early end":
                executor.started = []
                executor.start = executor.started.append
                executor.wait = lambda on_message: on_message(executor.started.pop(), {"kind": "end", "failure": None})
        return executor


@pytest.mark.parametrize(
    "options, message",
    [
        ("device=three", "device returned 3; return the name of a device"),
        ("threads=two", "threads returned 'two'; return a whole number"),
        ("threads=half", "threads returned 1.5; return a whole number"),
        ("threads=0", "threads returned 0; return a whole number"),
        ("threads=huge", "threads returned 10000000000; return a whole number"),
        ("executor=none", "open returned None; return an object with n_slots"),
        ("executor=no slots", r"has no slots \(n_slots is 0\), but random on blobs, seed 0 is left"),
        ("executor=stranger", "sent a message that belongs to no running job"),
        ("executor=no kind", "sent a message that belongs to no running job, or has no kind"),
    ],
)
def test_what_a_backend_returns_is_checked(registered, tmp_path, blob_file, quick, options, message):
    registered(registering(Odd), "odd")
    quick.pop("threads")
    with pytest.raises(PluginError, match=f"backend 'odd' of this process:? {message}"):
        run_benchmark("random", [blob_file], 1, tmp_path / "out", backend=f"odd[{options}]", **quick)


def test_an_end_without_a_finished_run_is_that_runs_failure(registered, tmp_path, blob_file, quick):
    registered(registering(Odd), "odd")
    done = run_benchmark("random", [blob_file], 2, tmp_path / "out", backend="odd[executor=early end]", **quick)
    assert len(done.failures) == 2 and all("it is not finished" in outcome.failure for outcome in done.failures)


def test_numpy_numbers_of_jobs_and_threads_are_python_numbers(registered, tmp_path, blob_file, quick):
    registered(registering(Odd), "odd")
    quick.pop("threads")
    done = run_benchmark(
        "random", [blob_file], 1, tmp_path / "out", backend="odd[threads=numpy]", jobs=np.int64(1), **quick
    )
    assert done.failures == ()


class Remote(Local):
    is_remote = True


def test_settings_of_runs_on_other_machines_do_not_depend_on_this_one():
    backend = Remote()
    assert [backend.device(device) for device in (None, "auto", "cuda")] == ["cpu", "cpu", "cuda"]
    assert backend.threads(1) == 1 and Local().device(None) is None


def test_a_job_with_absolute_paths_means_the_same_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEEPAL_DATA", "data-here")
    job = Job("a job", "out/run", {"dataset": "x.npz"}, "round-0/seed-0.pt")
    there = with_absolute_paths(job)
    assert there.folder == str(tmp_path / "out/run") and there.initial_model == str(tmp_path / "round-0/seed-0.pt")
    assert there.settings == {"dataset": str(tmp_path / "x.npz"), "data_dir": str(tmp_path / "data-here")}
    assert with_absolute_paths(there) == there
    assert with_absolute_paths(replace(job, settings={"dataset": "digits"})).settings["dataset"] == "digits"


@pytest.mark.parametrize("candidates", [["third"], ["all-weird"], {"all-weird": ["third"]}])
def test_other_machines_need_the_plugins_of_all_candidates(registered, candidates):
    class Third(ScoringStrategy):
        def score(self, context):
            return context.candidates.probabilities()[:, 0]

    class Plugin:
        @hookimpl
        def deepal_register_strategies(self, registry):
            registry.add("third", Third, family="weird", time="N")

    registered(Plugin(), "weird-plugin")
    provider = plugin_host().strategies.get("third").provider
    job = Job("a job", "out", {"strategy": "vote", "candidates": candidates})
    assert required_versions(job)[provider.distribution] == provider.version
    assert provider.distribution not in required_versions(replace(job, settings={"strategy": "margin"}))


def test_a_worker_process_executes_jobs_elsewhere(tmp_path, blob_file, quick):
    settings = {**quick, "strategy": "random", "dataset": str(blob_file), "seed": 0}
    messages = queue.SimpleQueue()
    worker = WorkerProcess(messages, threads=1, folder=str(tmp_path))
    worker.send(Job("a job", "run", settings))
    received = []
    while not received or received[-1]["kind"] != "end":
        source, message = messages.get(timeout=60)
        assert source is worker
        received.append(message)
    worker.process.terminate()
    worker.end()
    assert received[-1]["failure"] is None and (tmp_path / "run" / "summary.json").exists()


def test_reading_a_folder_without_its_state_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("deepal_autoal.benchmark.backends.folder_transfer._SECONDS_TO_SAVE", 0.1)
    (tmp_path / "rounds.jsonl").write_text('{"round": 0}\n')
    with pytest.raises(RunFolderError, match=r"it lacks state-00000\.pt"):
        read_run_folder(tmp_path)
