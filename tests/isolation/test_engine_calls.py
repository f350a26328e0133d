"""Threads take turns in the engine, and what a host program sets for its process does not reach in."""

import logging
import os
import subprocess
import sys
import threading
import time
import warnings
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
import torch

from deepal_autoal import ActiveLearner, ScoringStrategy, load_dataset, run
from deepal_autoal.isolation import engine_calls
from deepal_autoal.isolation.engine_calls import engine_call
from deepal_autoal.isolation.process_state import process_state, read_precisions


class Draws(ScoringStrategy):
    """Draws from all global generators, with time for other threads in between."""

    def score(self, context):
        parts = []
        for _ in range(3):
            parts.append(torch.rand(len(context.candidates)) + torch.as_tensor(np.random.rand(len(context.candidates))))
            time.sleep(0.005)
        return torch.stack(parts).sum(dim=0)


def new_learner(data, strategy, **changes):
    settings = {"model": "mlp", "recipe": {"epochs": 2, "min_steps": 4}, "seed": 5} | changes
    return ActiveLearner(data.x_train, strategy, 3, **settings)


def two_batches(data, strategy="entropy"):
    learner = new_learner(data, strategy)
    learner.tell(np.arange(12), data.y_train[:12])
    first = learner.ask(4)
    learner.tell(first, data.y_train[first])
    return [first.tolist(), learner.ask(4).tolist(), learner.predict_proba(data.x_test).tolist()]


def in_threads(works):
    """Run functions at the same time, each in a thread, and return what they returned."""
    results = [None] * len(works)

    def work(number):
        results[number] = works[number]()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def blamed(caplog):
    """Return the warnings about changes to the process, except that `Draws` does draw."""
    said = [record.getMessage() for record in caplog.records if "this was undone" in record.getMessage()]
    return [line for line in said if "strategy 'Draws'" not in line]


@pytest.mark.parametrize("strategy", [Draws, "entropy-dropout"])
def test_learners_in_threads_answer_as_alone(blob_data, caplog, strategy):
    alone = two_batches(blob_data, strategy)
    before = process_state()
    with caplog.at_level(logging.WARNING):
        found = in_threads([lambda: two_batches(blob_data, strategy)] * 4)
    assert found == [alone] * 4
    assert not blamed(caplog)
    assert process_state().keys() == before.keys()
    assert torch.equal(torch.get_rng_state(), before["torch's global generator"])


def test_runs_in_threads_have_the_records_of_runs_alone(blob_data, quick, caplog):
    def records(strategy, seed):
        result = run(strategy, blob_data, **quick | {"seed": seed, "threads": 1 + seed % 2})
        return [[record[key] for key in ("queried", "accuracy", "strategy")] for record in result.rounds]

    works = [lambda strategy=strategy, seed=seed: records(strategy, seed)
             for seed, strategy in enumerate([Draws, Draws, "badge", Draws])]  # fmt: skip
    alone = [work() for work in works]
    threads = torch.get_num_threads()
    with caplog.at_level(logging.WARNING):
        assert in_threads(works) == alone
    assert not blamed(caplog)
    assert torch.get_num_threads() == threads


def test_one_learner_can_be_used_by_several_threads(blob_data):
    learner = new_learner(blob_data, "margin")
    learner.tell(np.arange(12), blob_data.y_train[:12])
    in_threads([lambda row=row: learner.tell([row], blob_data.y_train[[row]]) for row in range(20, 40)])
    batches = in_threads([lambda: learner.ask(5).tolist()] * 3)
    assert batches == [learner.ask(5).tolist()] * 3 and learner.round == 0
    assert sorted(learner.labeled_indices) == [*range(12), *range(20, 40)]


def test_a_call_that_waits_says_so_once(blob_data, caplog, monkeypatch):
    monkeypatch.setattr(engine_calls, "SECONDS_BEFORE_NOTICE", 0.02)
    begun = threading.Event()

    def hold():
        with engine_call():
            begun.set()
            time.sleep(0.2)

    thread = threading.Thread(target=hold, name="the other")
    thread.start()
    begun.wait()
    with caplog.at_level(logging.WARNING):
        two_batches(blob_data)
    thread.join()
    said = [record.getMessage() for record in caplog.records if "waiting" in record.getMessage()]
    assert len(said) == 1 and said[0].startswith("waiting for a call of thread 'the other': in one process, threads")


def test_a_strategys_own_threads_can_use_the_context(blob_data):
    class Threaded(ScoringStrategy):
        def score(self, context):
            def work():
                half = context.fit(context.labeled.indices[::2], "half")
                other = context.rebuild(model=half, candidates=context.candidates.indices)
                return other.candidates.mc_probabilities(2).std(dim=0).sum(dim=1)

            return in_threads([work])[0]

    first, *_ = two_batches(blob_data, Threaded)
    assert len(set(first)) == 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_process_does_not_wait_for_a_thread_it_does_not_have():
    begun, end = threading.Event(), threading.Event()

    def hold():
        with engine_call():
            begun.set()
            end.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait()
    child = os.fork()
    if not child:
        with engine_call():
            os._exit(7)
    try:
        deadline = time.monotonic() + 20
        ended, status = 0, 0
        while not ended and time.monotonic() < deadline:
            ended, status = os.waitpid(child, os.WNOHANG)
            time.sleep(0.01)
        if not ended:
            os.kill(child, 9)
            os.waitpid(child, 0)
        assert ended and os.waitstatus_to_exitcode(status) == 7
    finally:
        end.set()
        thread.join()


def test_threads_share_one_plugin_host():
    code = """
import sys, threading
from deepal_autoal import plugin_host
sys.setswitchinterval(1e-6)
found = []
threads = [threading.Thread(target=lambda: found.append(plugin_host())) for _ in range(6)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len({id(host) for host in found}), len(found))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "6"]


@contextmanager
def changed(change, restore):
    change()
    try:
        yield
    finally:
        restore()


def doubling(module, inputs, output):
    return output * 2 + 1 if isinstance(output, torch.Tensor) and output.is_floating_point() else output


@contextmanager
def doubled():
    handle = torch.nn.modules.module.register_module_forward_hook(doubling)
    try:
        yield
        assert torch.equal(torch.nn.Identity()(torch.ones(2)), torch.full((2,), 3.0))  # it is back
    finally:
        handle.remove()


@contextmanager
def warnings_as_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
        with pytest.raises(UserWarning):
            warnings.warn("of the host", stacklevel=1)


HOSTS = {
    "default dtype": lambda: changed(
        lambda: torch.set_default_dtype(torch.float64), lambda: torch.set_default_dtype(torch.float32)
    ),
    "default device": lambda: torch.device("meta"),
    "set_default_device": lambda: changed(
        lambda: torch.set_default_device("meta"), lambda: torch.set_default_device(None)
    ),
    "inference mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "set_grad_enabled": lambda: changed(lambda: torch.set_grad_enabled(False), lambda: torch.set_grad_enabled(True)),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "anomaly detection": lambda: torch.autograd.set_detect_anomaly(True),
    "deterministic algorithms": lambda: changed(
        lambda: torch.use_deterministic_algorithms(True), lambda: torch.use_deterministic_algorithms(False)
    ),
    "matmul precision": lambda: changed(
        lambda: torch.set_float32_matmul_precision("medium"), lambda: torch.set_float32_matmul_precision("highest")
    ),
    "cuDNN flags": lambda: torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=True),
    "module hooks": doubled,
    "numpy's errors": lambda: np.errstate(all="raise"),
    "warnings": warnings_as_errors,
}


class Looks(ScoringStrategy):
    """Does what depends on the process's state, and notes that state."""

    def __init__(self):
        self.seen = {}

    def score(self, context):
        self.seen = process_state() | {
            "inference mode": torch.is_inference_mode_enabled(),
            "precisions": read_precisions(),
            "filters": [item for item in warnings.filters if item[0] == "error" and item[3] is None],
        }
        warnings.warn("of the strategy", UserWarning, stacklevel=1)
        np.log(np.zeros(2)[:1] / np.zeros(2)[:1])
        weight = torch.nn.Parameter(torch.full((context.labeled.embeddings().shape[1],), 0.5))
        (context.labeled.embeddings() @ weight).square().sum().backward()
        return (context.candidates.embeddings() @ weight.grad) * torch.arange(len(context.candidates)).div(7)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("host", HOSTS)
def test_what_a_host_program_sets_does_not_reach_in(tmp_path, blob_data, host):
    def everything(folder):
        strategy = Looks()
        learner = new_learner(blob_data, strategy)
        learner.tell(np.arange(12), blob_data.y_train[:12])
        first = learner.ask(4)
        learner.save(folder)
        again = ActiveLearner.load(folder, blob_data.x_train, strategy=Looks())
        again.tell(first, blob_data.y_train[first])
        predicted = again.predict_proba(blob_data.x_test)
        return first.tolist(), again.ask(4).tolist(), predicted.dtype, predicted.tolist(), strategy.seen

    *alone, usual = everything(tmp_path / "alone.pt")
    with ExitStack() as stack:
        stack.enter_context(HOSTS[host]())
        before, inference, filters = process_state(), torch.is_inference_mode_enabled(), list(warnings.filters)
        *found, seen = everything(tmp_path / "hosted.pt")
        after = process_state()
        assert torch.is_inference_mode_enabled() is inference and list(warnings.filters) == filters
    assert found == alone
    for state in (before, after, usual, seen):
        for name in [name for name in state if "generator" in name or name in ("the warnings filters", "sys.stdout")]:
            del state[name]
    assert {key: str(value) for key, value in after.items()} == {key: str(value) for key, value in before.items()}
    assert {key: str(value) for key, value in seen.items()} == {key: str(value) for key, value in usual.items()}


@pytest.mark.parametrize("host", ["default dtype", "inference mode", "autocast", "module hooks", "warnings"])
def test_runs_and_loaded_models_are_undisturbed_too(tmp_path, image_data, quick, host):
    from deepal_autoal import load_model

    quick = quick | {"model": "cnn", "rounds": 1}
    alone = run("badge", image_data, **quick)
    with HOSTS[host]():
        found = run("badge", image_data, out=tmp_path / "run", **quick)
        accuracy = (load_model(tmp_path / "run").predict(image_data.x_test) == image_data.y_test).mean()
        assert load_dataset("digits").x_train.dtype == np.uint8
    assert [record["queried"] for record in found.rounds] == [record["queried"] for record in alone.rounds]
    assert found.accuracy == alone.accuracy == accuracy
