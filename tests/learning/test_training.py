"""The trainer, closed loops and scores, also through the command line."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from benchsuite.catalog.models import MODELS
from benchsuite.catalog.tasks import TASKS
from benchsuite.cli import app
from benchsuite.errors import Unsupported, UsageError
from benchsuite.grid.case import Case
from benchsuite.grid.study import Budget
from benchsuite.learning import closed_loop, scores
from benchsuite.learning.predictor import build_predictor
from benchsuite.learning.trainer import Diverged, _Run, train
from benchsuite.measures import accuracy
from benchsuite.measures.attempt import measure
from benchsuite.runtime import streams
from benchsuite.tasks.recipe import Recipe
from benchsuite.tasks.task import Examples, make_task

HERE = __name__
NAMES = [spec.name for spec in MODELS if spec.family != "outside" and spec.execution != "Triton"]


def task_of(name, seq_len=16, batch_size=8, seed=0, **options):
    return make_task(name, seq_len=seq_len, batch_size=batch_size, seed=seed, options=options)


def case_of(model="gru", seq_len=16, batch_size=8, hidden_size=4, **changes):
    sizes = {"seq_len": seq_len, "batch_size": batch_size, "hidden_size": hidden_size}
    return Case(**{"model": model, "mode": "train", **sizes, **changes})


def parameters(trained):
    return [p.detach().clone() for p in trained.built.module.parameters()]


# --- training


def test_a_tiny_model_learns_a_short_delay():
    task = task_of("delay", batch_size=16, lag=2)
    recipe = Recipe(steps=300, lr=1e-2)
    trained = train(case_of(hidden_size=8, batch_size=16), task, recipe)
    assert trained.curve[0].error == pytest.approx(1, abs=0.2)
    assert scores.test_error(trained) < 0.02
    assert (trained.steps, trained.stopped) == (300, "steps")


@pytest.mark.parametrize(("seed", "same"), [(0, True), (1, False)])
def test_the_seed_determines_the_result(seed, same):
    recipe = Recipe(steps=5, evaluate_every=5)
    first = train(case_of(), task_of("delay"), recipe)
    second = train(case_of(seed=seed), task_of("delay", seed=seed), recipe)
    pairs = zip(parameters(first), parameters(second), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs) is same


@pytest.mark.parametrize("first", [3, 2], ids=["on a point", "between points"])
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path, optimizer, first):
    case, task = case_of(dtype="float64"), task_of("delay", lag=3)
    clip = 1.0 if optimizer == "adam" else None
    recipe = Recipe(optimizer=optimizer, lr=0.05, clip=clip, steps=6, evaluate_every=3)
    whole = train(case, task, recipe)
    path = tmp_path / "checkpoint.pt"
    train(case, task, recipe.replace(steps=first), path=path)
    resumed = train(case, task, recipe, path=path, resume=True)
    for a, b in zip(parameters(whole), parameters(resumed), strict=True):
        assert torch.equal(a, b)
    plain = [[(p.step, p.loss, p.error) for p in t.curve] for t in (whole, resumed)]
    assert plain[0] == plain[1]
    assert (resumed.steps, resumed.best_step) == (6, whole.best_step)
    assert resumed.seconds > 0


def test_resuming_a_finished_training_takes_no_steps(tmp_path):
    path, task, steps = tmp_path / "checkpoint.pt", task_of("delay"), []
    first = train(case_of(), task, Recipe(steps=4), path=path)
    again = train(
        case_of(), task, Recipe(steps=4), path=path, resume=True, on_progress=steps.append
    )
    assert steps == []
    assert scores.test_error(again) == scores.test_error(first)


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    path, recipe = tmp_path / "checkpoint.pt", Recipe(steps=2)
    train(case_of(), task_of("delay"), recipe, path=path)
    for case, task, other, words in [
        (case_of(hidden_size=5), task_of("delay"), recipe, "hidden_size=4, not 5"),
        (case_of(), task_of("delay", lag=3), recipe, "lag=8, not 3"),
        (case_of(), task_of("delay"), recipe.replace(lr=0.1), "lr=0.003, not 0.1"),
    ]:
        with pytest.raises(UsageError, match=words):
            train(case, task, other, path=path, resume=True)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UsageError, match="is not a readable checkpoint"):
        train(case_of(), task_of("delay"), recipe, path=path, resume=True)


def test_the_step_of_a_nan_is_reported():
    task = task_of("delay")

    def batch(step):
        good = task.batch(step)
        return Examples(good.x_BTF * math.nan, good.y) if step == 4 else good

    with pytest.raises(Diverged, match="diverged at step 5: the loss is nan"):
        train(case_of(), dataclasses.replace(task, batch=batch), Recipe(steps=9))


def test_the_step_of_divergence_is_reported():
    with pytest.raises(Diverged, match=r"diverged at step \d+: .* a lower lr than 1e\+06"):
        train(case_of(), task_of("delay"), Recipe(steps=9, lr=1e6))


def nan_weights():
    model = nn.Linear(1, 2)
    nn.init.constant_(model.weight, math.nan)
    return model


def test_nan_weights_are_reported_before_training():
    with pytest.raises(Diverged, match="nan at step 0, before any training"):
        train(case_of(f"{HERE}:nan_weights"), task_of("delay"), Recipe(steps=9))


def test_training_stops_early_without_improvement():
    # The learning rate is too low to change any parameter.
    recipe = Recipe(steps=100, evaluate_every=2, patience=3, lr=1e-30)
    trained = train(case_of(), task_of("delay"), recipe)
    assert (trained.stopped, trained.steps, trained.best_step) == ("patience", 6, 0)


def test_the_best_parameters_are_kept():
    task = task_of("delay", lag=2)
    trained = train(case_of(), task, Recipe(steps=60, evaluate_every=3, lr=0.3))
    errors = [point.error for point in trained.curve]
    best = min(errors)
    assert errors[-1] > best  # with so high a rate the last parameters are not the best
    held = task.validation.to(torch.device("cpu"), torch.float32)
    with torch.no_grad():
        error = float(task.error(trained.built.module.eval()(held.x_BTF), held.y))
    assert error == best
    assert trained.curve[errors.index(best)].step == trained.best_step


@pytest.mark.parametrize(("clip", "bound"), [(1e-3, True), (None, False)])
def test_gradients_are_clipped(clip, bound):
    task = task_of("delay")
    run = _Run(build_predictor(case_of(), task), task, Recipe(clip=clip))
    run.advance()
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in run.module.parameters()))
    assert (norm <= 1.001e-3) is bound


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 0}, "steps = 0 is not allowed; use a whole number from 1"),
        ({"seconds": 0.0}, "seconds = 0 is not allowed; use a number above 0"),
        ({"seconds": math.inf}, "seconds = inf is not allowed"),
        ({"steps": None}, "give steps, seconds or both"),
        ({"lr": math.nan}, "lr = nan is not allowed"),
        ({"lr": -1.0}, "lr = -1 is not allowed"),
        ({"patience": 0}, "patience = 0 is not allowed"),
        ({"optimizer": "sgd"}, "unknown optimizer 'sgd'"),
        ({"optimizer": "lbfgs"}, "clip = 1 is not allowed with lbfgs"),
    ],
)
def test_bad_recipes_are_reported(changes, words):
    with pytest.raises(UsageError) as error:
        Recipe(**changes)
    assert words in str(error.value)


def test_a_budget_of_seconds_ends_training_and_progress_is_reported():
    reports = []
    recipe = Recipe(steps=None, seconds=1.0)
    trained = train(case_of(), task_of("delay"), recipe, on_progress=reports.append)
    assert trained.stopped == "seconds"
    assert 1.0 <= trained.seconds < 10
    assert [p.step for p in reports] == list(range(1, trained.steps + 1))
    assert reports[-1].share == 1
    assert reports[0].share < 1


# --- models for tasks


def test_the_published_network_starts_from_the_published_parameters():
    """`train.py` seeds torch with 0 and creates two LSTMCells and a Linear, in this order."""
    case = Case(model="lstm", mode="train", **TASKS.get("sine").axes)
    built = build_predictor(case, task_of("sine", 999, 97))
    torch.manual_seed(0)
    published = [nn.LSTMCell(1, 51), nn.LSTMCell(51, 51), nn.Linear(51, 1)]
    theirs = [p.double() for part in published for p in part.parameters()]
    ours = list(built.module.parameters())
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert built.parameters == 32_284
    cell = build_predictor(case.replace(model="lstm_cell"), task_of("sine", 999, 97))
    hand_written = list(cell.module.parameters())
    assert all(torch.equal(a, b) for a, b in zip(hand_written, theirs, strict=True))


def test_a_matched_model_is_matched_at_the_tasks_features():
    task = task_of("adding")
    reference = build_predictor(case_of("lstm", hidden_size=16), task)
    built = build_predictor(case_of("tcn", hidden_size=16, match="params"), task)
    assert built.case.input_size == 2
    assert built.width != 16
    assert built.parameters / reference.parameters == pytest.approx(1, abs=0.15)


def test_a_model_without_num_layers_is_matched_to_a_reference_with_it():
    task, case = task_of("sine"), case_of("lstm", hidden_size=16, num_layers=2)
    reference = build_predictor(case, task)
    built = build_predictor(case.replace(model="tcn", match="params"), task)
    assert built.parameters / reference.parameters == pytest.approx(1, abs=0.15)


def looks_ahead():
    class Ahead(nn.Module):
        def forward(self, x):
            return torch.cat([x[:, 1:], x[:, :1]], 1)

    return Ahead()


def test_a_model_that_sees_the_targets_is_not_trained():
    both = case_of("lstm", bidirectional=True)
    for case in (both, case_of(f"{HERE}:looks_ahead")):
        with pytest.raises(Unsupported, match="a causal model is needed"):
            train(case, task_of("sine_mix"), Recipe(steps=1))
    assert train(both, task_of("delay"), Recipe(steps=1)).steps == 1


def lstm_rows(m):
    return m.bias_ih_l0[:256], m.bias_ih_l0[256:512], m.bias_hh_l0[:512]


def gru_rows(m):
    return -m.bias_ih_l0[256:512], m.bias_ih_l0[256:512], m.bias_hh_l0[256:512]


CHRONO = {
    **dict.fromkeys(["lstm", "lstm_cell", "lstm_peephole", "lstm_fused"], lstm_rows),
    **dict.fromkeys(["gru", "gru_cell"], gru_rows),
}


@pytest.mark.parametrize("model", CHRONO)
def test_chrono_initialises_the_gate_biases(model):
    case = case_of(model, seq_len=100, hidden_size=256)
    built = build_predictor(case, task_of("delay", 100), chrono=True)
    b_i, b_f, other = CHRONO[model](built.module.model.module)
    assert torch.equal(b_i, -b_f)
    assert (other == 0).all()
    times = b_f.detach().exp()  # drawn from U[1, T_max - 1], T_max being seq_len
    assert 1 <= times.min() < 10
    assert 90 < times.max() <= 99
    assert times.mean() == pytest.approx(50, abs=6)


def test_chrono_needs_gates():
    with pytest.raises(Unsupported, match="tcn has no LSTM or GRU gates"):
        train(case_of("tcn"), task_of("delay"), Recipe(steps=1, chrono=True))


# --- closed loops


def false_state(input_size):
    """Returns a second value that is not a state, and yet accepts a second argument."""

    class FalseState(nn.Module):
        def forward(self, x, other=None):
            return x.cumsum(1), x if other is None else other

    return FalseState()


@pytest.mark.parametrize("model", [*NAMES, f"{HERE}:false_state"])
def test_generation_equals_recomputing_everything(model):
    task = task_of("sine_mix", 30)
    predictor = build_predictor(case_of(model, 30, dtype="float64"), task).module.eval()
    x_BTF = task.test.x_BTF[:3]
    stream_type = type(streams.stream_of(predictor, x_BTF))
    family = MODELS.get(model).family
    expected = dict.fromkeys(("recurrent", "linear"), streams.Carried)
    expected["convolutional"] = streams.Buffered
    if model == "longconv":  # by FFT, not by layers that keep their last inputs
        family = "recomputed"
    assert stream_type is expected.get(family, streams.Recomputed)
    observed, generated = closed_loop.generate(predictor, x_BTF, 70)  # beyond most fields
    whole = torch.cat([x_BTF, observed[:, -1:], generated], 1)
    with torch.no_grad():  # causal: one pass over all inputs gives the output after each of them
        torch.testing.assert_close(observed, predictor(x_BTF), rtol=0, atol=1e-12)
        outputs = predictor(whole[:, :-1])[:, x_BTF.shape[1] :]
    torch.testing.assert_close(outputs, generated, rtol=0, atol=1e-11)


def test_outputs_that_cannot_be_inputs_are_reported():
    task = task_of("adding")
    predictor = build_predictor(case_of(), task).module
    with pytest.raises(UsageError, match="1 outputs cannot be fed back as 2 inputs"):
        closed_loop.generate(predictor, task.test.x_BTF, 3)


class Oscillator(nn.Module):
    """x_{t+1} = 2 cos(w) x_t - x_{t-1}, exact for a wave of angular frequency w."""

    def __init__(self, w):
        super().__init__()
        self.register_buffer("cos", torch.tensor(math.cos(w), dtype=torch.float64))
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return 2 * self.cos * x - torch.nn.functional.pad(x, (0, 0, 1, 0))[:, :-1]


def exact():
    return Oscillator(1 / 20)


def fast():
    return Oscillator(1.01 / 20)


@pytest.mark.parametrize(("model", "drift"), [("exact", 0.0), ("fast", 10.0)])
def test_scores_of_a_known_oscillator(model, drift):
    """Scores of a perfect predictor of the sine, and of one that runs 1 % fast."""
    task = task_of("sine", 300, 4)
    case = case_of(f"{HERE}:{model}", 300, 4, dtype="float64")
    trained = train(case, task, Recipe(steps=1, lr=1e-30))
    head = trained.built.module.head
    nn.init.ones_(head.weight)
    nn.init.zeros_(head.bias)
    loop = scores.continuation(trained, task.closed_loop)
    assert loop.generated_RS.shape == loop.truth_RS.shape == (3, 1000)
    assert loop.phase_drift == pytest.approx(drift, abs=0.02)
    assert loop.followed == pytest.approx(1000, abs=40)
    if model == "exact":
        assert loop.nrmse < 1e-6
    else:
        # half a radian ahead after 1000 steps: rms of 2 sin(δ/2) over the standard deviation
        assert 0.1 < loop.nrmse < 0.5


@pytest.mark.parametrize("percent", [-4.0, -0.5, 0.0, 0.5, 4.0])
@pytest.mark.parametrize("fade", [0.0, 2e-3])
def test_phase_drift_of_a_known_frequency(percent, fade):
    t = np.arange(-250, 1250)
    s = np.arange(1000)
    wave = 0.3 + np.exp(-fade * s) * np.sin((1 + percent / 100) * s / 20 + 0.2)
    drift, followed = scores.phase_drift(wave, np.sin(t / 20 + 0.2), 250, 126)
    # at t the wave has the value that the truth has at (1 + percent / 100) t
    assert drift == pytest.approx(10 * percent, abs=0.5)
    assert followed > 900


def test_a_lost_phase_has_no_drift():
    noise = np.random.RandomState(0).standard_normal(1000)
    truth = np.sin(np.arange(-250, 1250) / 20)
    assert scores.phase_drift(noise, truth, 250, 126)[0] is None
    assert scores.phase_drift(np.full(1000, np.nan), truth, 250, 126) == (None, 0)
    assert scores.phase_drift(np.zeros(1000), truth, 250, 126) == (None, 0)


# --- measures and the command line


@pytest.mark.parametrize("task", TASKS.names())
def test_every_task_is_measured(task, monkeypatch):
    monkeypatch.setattr(accuracy, "STEPS", 20)
    case = case_of("gru", 24, hidden_size=8, match="params")
    record = measure(case, f"{task}_error", budget=Budget(timeout=8.0))
    assert (record.status, record.reason) == ("ok", "")
    assert 0 < record.value < math.inf
    assert record.unit == "1"
    assert record.provenance["width"] == 9  # matched at the task's features, not the case's
    other = measure(case.replace(mode="infer"), f"{task}_error")
    assert other.status == "skipped"
    assert "mode=train" in other.reason


def test_a_measure_reports_why_it_was_skipped_or_failed():
    small = measure(case_of(seq_len=12), "copy_error")
    assert small.status == "skipped"
    assert "digits = 10 is not allowed at seq_len = 12" in small.reason
    short = measure(case_of(), "delay_error", budget=Budget(timeout=0.2))
    assert short.status == "ok"
    assert "stopped by time after" in short.warning
    broken = measure(case_of(f"{HERE}:nan_weights"), "delay_error")
    assert broken.status == "failed"
    assert "nan at step 0" in broken.reason


@pytest.fixture
def command(tmp_path, shared_server):
    return lambda *words: CliRunner().invoke(app, ["train", *words, "--home", str(tmp_path)])


def test_the_command_trains_scores_and_draws(command, tmp_path):
    words = ["sine", "lstm", "tcn", "-a", "seq_len=40", "-a", "batch_size=4"]
    words += ["-a", "hidden_size=5", "-a", "match=params", "--steps", "2"]
    done = command(*words, "-o", str(tmp_path / "out"), "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert [run["model"] for run in document["runs"]] == ["lstm", "tcn"]
    assert set(document["baselines"]) == {"zero", "persistence", "two samples"}
    for run in document["runs"]:
        assert run["status"] == "ok"
        assert (run["optimizer"], run["lr"], run["steps"]) == ("lbfgs", 0.8, 2)
        assert run["error"] == run["scores"]["open_loop_mse"]
        assert {"closed_loop_nrmse", "phase_drift"} <= set(run["scores"])
        assert [point["step"] for point in run["curve"]] == [0, 1, 2]
    for name in ("curves", "closed_loop"):
        drawn = (tmp_path / "out" / document["files"][name].rpartition("/")[2]).read_text()
        assert all(model in drawn for model in ("lstm", "tcn", "match=params"))
    assert json.loads((tmp_path / "out" / "results.json").read_text())["runs"] == document["runs"]
    longer = command(*words[:-1], "3", "--resume", "--json")
    assert [p["step"] for p in json.loads(longer.stdout)["runs"][0]["curve"]] == [0, 1, 2, 3]
    shown = command(*words[:-1], "3", "--resume")
    assert "(persistence)" in shown.stdout
    assert "…" not in shown.stdout


def test_the_command_continues_after_a_model_that_cannot_be_trained(command):
    words = ["delay", "tcn", "gru", "-a", "seq_len=16", "-a", "hidden_size=4", "--chrono"]
    done = command(*words, "--steps", "2", "--json")
    assert done.exit_code == 0
    assert [run["status"] for run in json.loads(done.stdout)["runs"]] == ["skipped", "ok"]
    words = ["delay", f"{HERE}:nan_weights", "gru", "-a", "seq_len=16", "-a", "hidden_size=4"]
    done = command(*words, "--steps", "2", "--json")
    assert done.exit_code == 1
    document = json.loads(done.stdout)
    runs = document["runs"]
    assert [run["status"] for run in runs] == ["failed", "ok"]
    assert "nan_weights: failed" in Path(document["files"]["curves"]).read_text()
    assert "before any training" in runs[0]["reason"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["delay", "lstm", "--steps", "0"], "steps = 0 is not allowed"),
        (["delay", "lstm", "--seconds", "0"], "seconds = 0 is not allowed"),
        (["delay", "lstm", "-t", "lag=256"], "lag = 256 is not allowed at seq_len = 256"),
        (["delay", "lstm", "-t", "lag"], "task option 'lag' has no '='"),
        (["delay", "lstm", "-a", "seq_len=8,16"], "2 values; train takes one of each axis"),
        (["delay", "lstm", "-a", "input_size=3"], "it follows from the task"),
        (["delay", "lstm", "-a", "mode=infer"], "always mode=train"),
        (["delay", "lstm", "--optimizer", "sgd"], "unknown optimizer 'sgd'"),
        (["delay", "lstn"], "unknown model 'lstn': did you mean 'lstm'"),
        (["delays", "lstm"], "unknown task 'delays': did you mean 'delay'"),
    ],
)
def test_wrong_usage_is_reported(command, words, message):
    done = command(*words)
    assert isinstance(done.exception, UsageError)
    assert message in str(done.exception)
