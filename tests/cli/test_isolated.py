"""Commands that run several models: none changes the next."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest
import torch

from benchsuite.cli._isolated import in_child
from benchsuite.errors import BenchsuiteError, Unsupported, UsageError

SMALL = ["-a", "seq_len=16", "-a", "hidden_size=8", "-t", "lag=2"]


@pytest.fixture(autouse=True)
def _models(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "faults")


def state():
    """What a model could change of this process."""
    return {
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "seed": torch.initial_seed(),
        "grad": torch.is_grad_enabled(),
        "clock": time.perf_counter,
        "mse": torch.nn.functional.mse_loss,
        "randn": torch.randn,
        "directory": Path.cwd(),
        "environment": dict(os.environ),
        "SIGINT": signal.getsignal(signal.SIGINT),
        "SIGTERM": signal.getsignal(signal.SIGTERM),
        "running": threading.active_count(),
    }


@pytest.fixture
def trained(run_command, tmp_path):
    """Errors by model after a short training of several, and what was printed."""

    def train(*models, code=0):
        words = ["train", "delay", *models, *SMALL, "--steps", "20", "-o", str(tmp_path / "out")]
        got, out, err = run_command(*words, "--home", str(tmp_path), "--json")
        assert got == code, err
        runs = json.loads(out)["runs"]
        return {run["model"]: run.get("error", run["reason"]) for run in runs}, err

    return train


def test_a_default_dtype_set_by_one_model_does_not_change_the_next(trained):
    alone, _ = trained("lstm")
    after, _ = trained("meddling:dtype", "lstm")
    assert after["lstm"] == alone["lstm"]


def test_no_change_by_a_model_of_a_training_remains(trained):
    alone, _ = trained("lstm")
    before = state()
    after, err = trained("meddling:everything", "lstm", code=1)
    assert state() == before
    assert after["lstm"] == alone["lstm"]
    assert "printed by the model\n" in err  # and not on standard output, nor its sequence
    assert "written by the model\n" in err


def test_no_change_by_a_model_of_a_field_remains(run_command, tmp_path):
    words = ["field", "-a", "seq_len=16", "-a", "hidden_size=8", "-o", str(tmp_path), "--json"]
    alone = json.loads(run_command(*words, "lstm")[1])
    before = state()
    for first in ("meddling:dtype", "meddling:everything"):
        _, out, _ = run_command(*words, first, "lstm")
        assert json.loads(out)[1] == alone
    assert state() == before


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("leaves", "the model has called sys.exit(0)"),
        ("vanishes", "its process ended with exit code 0 and without a result: last words"),
        ("dies", "its process was killed by SIGKILL"),
    ],
)
def test_a_model_that_ends_its_process_is_a_failure_and_the_others_go_on(trained, model, reason):
    errors, err = trained(f"meddling:{model}", "lstm", code=1)
    assert errors[f"meddling:{model}"] == reason
    assert errors["lstm"] > 0
    assert f"failed: meddling:{model}: {reason}\n" in err


def test_ctrl_c_ends_the_child_and_the_command(run_command, tmp_path):
    words = ["train", "delay", "meddling:interrupts", *SMALL, "--home", str(tmp_path)]
    code, out, err = run_command(*words)
    assert (code, out) == (130, "")
    assert "--resume goes on" in err


def test_reports_and_the_result_arrive_in_order():
    seen = []

    def function(report):
        for number in range(1000):
            report(number)
        return torch.arange(3)

    assert in_child(function, seen.append).tolist() == [0, 1, 2]
    assert seen == list(range(1000))


def test_a_process_left_behind_does_not_delay_the_result():
    def function(_):
        if os.fork() == 0:
            time.sleep(3)
            os._exit(0)
        return os.getpid()

    start = time.monotonic()
    assert in_child(function) != os.getpid()
    assert time.monotonic() - start < 3


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (UsageError("bad"), UsageError, "bad"),
        (Unsupported("no", kernel="x"), Unsupported, "no"),
        (ValueError("two\nlines"), BenchsuiteError, "ValueError: two lines"),
        (MemoryError(), BenchsuiteError, "MemoryError: "),
    ],
)
def test_errors_keep_their_meaning(error, kind, words):
    def function(_):
        raise error

    with pytest.raises(kind) as caught:
        in_child(function)
    assert type(caught.value) is kind
    assert str(caught.value) == words


def test_a_result_that_cannot_be_sent_is_an_error():
    with pytest.raises(BenchsuiteError, match="pickle"):
        in_child(lambda _: lambda: None)


def test_much_output_does_not_block(capsys):
    in_child(lambda _: print("x" * 1_000_000))
    assert len(capsys.readouterr().err) == 1_000_001
