"""The command line: exit codes, one document with --json, errors that help."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest
from rich.console import Console

from benchsuite import host
from benchsuite.cli import _output, _progress, app, run, trace, train
from benchsuite.grid.study_file import load_study
from benchsuite.records import RecordFile
from benchsuite.runtime import device
from benchsuite.sweep import driver, guards, suite
from benchsuite.sweep.watch import Progress


@pytest.fixture
def cli(run_command):
    return run_command


@pytest.mark.parametrize("what", ["models", "measures", "studies", "axes"])
def test_list_as_json(cli, what):
    code, out, err = cli("list", what, "--json")
    rows = json.loads(out)
    assert (code, err) == (0, "")
    assert {"name", "summary"} <= set(rows[0])


def test_list_has_every_built_in_model_with_its_family(cli):
    models = {row["name"]: row["family"] for row in json.loads(cli("list", "models", "--json")[1])}
    assert list(models) == [
        *("lstm_cell", "lstm_peephole", "lstm_peephole_diag", "lstm_stacked", "lstm_fused"),
        *("lstm_native", "lstm_triton", "lstm_newton", "lstm"),
        *("gru_cell", "gru_native", "gru_newton", "gru"),
        *("paragru_loop", "paragru_newton", "tcn", "tcn_fixed", "conv"),
        *("tcn_separable", "wavenet", "longconv"),
        *("lru_loop", "lru_scan", "lru_fft", "lru_native", "s4d_scan", "s4d_fft", "s4d_native"),
        *("mingru_loop", "mingru_scan", "mingru_native"),
        *("minlstm_loop", "minlstm_scan", "minlstm_native"),
        *("rglru_scan", "rglru_native", "selective_scan", "selective_native"),
    ]
    assert models["lru_fft"] == "linear"
    assert models["tcn"] == "convolutional"
    assert set(json.loads(cli("list", "--json")[1])) >= {"models", "measures", "studies", "axes"}


def test_models_are_listed_with_mathematics_and_execution(cli):
    rows = {row["name"]: row for row in json.loads(cli("list", "models", "--json")[1])}
    same = {name for name, row in rows.items() if row["mathematics"] == "lstm"}
    assert same == {
        *("lstm_cell", "lstm_stacked", "lstm_fused"),
        *("lstm_native", "lstm_triton", "lstm_newton", "lstm"),
    }
    executions = {rows[name]["execution"] for name in same}
    loops = {"Python loop", "stacked loop", "fused loop"}
    assert executions == {*loops, "native", "Triton", "Newton", "library"}
    lru = {name: row["execution"] for name, row in rows.items() if row["mathematics"] == "lru"}
    executions = ("Python loop", "scan", "FFT", "native")
    names = ("lru_loop", "lru_scan", "lru_fft", "lru_native")
    assert lru == dict(zip(names, executions, strict=True))


def test_list_for_people(cli):
    code, out, _ = cli("list")
    assert code == 0
    for word in ("lstm_peephole_diag", "peak_memory", "quick", "batch_size"):
        assert word in out


@pytest.mark.parametrize("what", ["models", "tasks", "measures", "studies", "axes"])
def test_lists_fit_into_80_columns_without_broken_words(cli, what, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    rows, out = json.loads(cli("list", what, "--json")[1]), cli("list", what)[1]
    assert max(map(len, out.splitlines())) <= 80
    cells = [value for row in rows for value in row.values()]
    texts = [part for cell in cells for part in (cell if isinstance(cell, list) else [cell])]
    assert {w for text in texts for w in str(text).split() if text} - set(
        out.replace(",", " , ").split()
    ) <= {w for text in texts for w in str(text).split() if "," in w}


def test_axes_are_listed_with_their_aliases(cli):
    rows = json.loads(cli("list", "axes", "--json")[1])
    assert {r["name"]: r["alias"] for r in rows if r["alias"]} == {
        **{"seq_len": "T", "batch_size": "B", "hidden_size": "H"},
        **{"input_size": "I", "num_layers": "L"},
    }


def balance(**changes):
    own = {"study": "s", "cases": 2, "ok": 2, "skipped": 0, "failed": 0, "remaining": 0}
    times = {"measure_seconds": 0.0, "setup_seconds": 0.01, "wall_seconds": 3.0}
    return driver.Balance(**{**own, **times, "records": "r.jsonl", **changes})


def test_a_run_reports_how_much_was_already_finished():
    assert run._sentence(balance(reused=8)) == (
        "s: 2 of 2 cases ok, 0 skipped, 0 failed; all 8 measurements were already finished; r.jsonl"
    )
    partly = run._sentence(balance(reused=6, measured=2))
    assert "6 measurements were already finished; 3.0 s in all: 0.0 s measuring, 0.0 s se" in partly


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["list", "model"], "unknown list 'model': did you mean 'models'"),
        (["run", "quik"], "unknown study 'quik': did you mean 'quick'"),
        (["run", "-a", "model=lsmt"], "unknown model 'lsmt': did you mean 'lstm'"),
        (["run", "-a", "seqlen=4"], "unknown axis 'seqlen'"),
        (["run", "-a", "seq_len=-4"], "-4 is not allowed"),
        (["run", "-a", "seq_len=8:4:*2"], "yields no value"),
        (["run", "--device", "tpu"], "unknown device 'tpu'"),
        (["run", "--device", "gpu"], "did you mean 'cuda'?"),
        (["run", "--absent"], "No such option: --absent; see `benchsuite run --help`"),
        (["rnu"], "No such command 'rnu'"),
        (["train", "delay"], "Missing argument"),
        (["train", "delay", "lstm", "--steps", "many"], "'many'; see `benchsuite train --help`"),
        (["train", "delay", "lstm", "--seconds", "2 x"], "'2 x' is not allowed; write seconds"),
        (["train", "delay", "lstm", "-a", "T=8", "-a", "seq_len=9"], "axis 'seq_len': 2 values"),
        (["trace", "lstm", "-a", "T=8,9"], "a trace takes one of each axis"),
        (["advise", "-a", "T=8,9"], "axis 'seq_len': 2 values; advise takes one of each axis"),
        (["advise", "-a", "model=lstm"], "advise ranks all measured models; leave it out"),
        (["advise", "--max-memory", "2 parsec"], "'2 parsec' is not allowed; write bytes"),
        (["run", "--measure", "speed"], "unknown measure 'speed'"),
        (["run", "--name", "../x"], "study name '../x' is not allowed"),
        (["run", "/absent/study.toml"], "cannot read the study file"),
        (["report", "absent"], "unknown study or path 'absent'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(cli, words, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = cli(*words)
    assert (code, out) == (2, "")
    assert expected in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--device", "cuda"],
        ["run", "-a", "device=cuda"],
        ["run", "gpu"],
        ["trace", "lstm", "-a", "device=cuda"],
        ["train", "delay", "lstm", "-a", "device=cuda"],
    ],
)
def test_a_missing_device_is_refused_at_once(cli, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(host, "cuda_problem", lambda: "it has none")
    code, out, err = cli(*words)
    assert (code, out) == (2, "")
    assert "not available on this machine: it has none; available: cpu" in err
    assert err.count("\n") == 1
    assert not (tmp_path / ".benchsuite").exists()  # it does not become the last run


def test_a_study_of_two_devices_keeps_both(monkeypatch):
    monkeypatch.setattr(host, "cuda_problem", lambda: "it has none")
    both = guards.resolve_device(load_study("tracked"))
    guards.require_some_device(both)
    assert both.axes["device"] == ("cpu", "cuda")


@pytest.mark.parametrize(("problem", "device"), [("", "cuda"), ("it has none", "cpu")])
def test_auto_has_one_meaning(monkeypatch, problem, device):
    """A run, plain asv, a trace and a training resolve it alike."""
    monkeypatch.setattr(host, "cuda_problem", lambda: problem)
    monkeypatch.setattr(host, "cuda_driver_present", lambda: True)
    monkeypatch.setenv("BENCHSUITE_STUDY", "quick")
    assert run._study("quick", [], None, [], None).axes["device"] == (device,)
    assert suite._chosen_study().axes["device"] == (device,)
    assert trace._case("lstm", []).device == device
    assert train._settings([], None)["device"] == device


def test_another_process_tests_for_cuda(monkeypatch):
    """A driver that loads is not enough; a child process asks torch, so that forks stay safe."""
    monkeypatch.setattr(host, "cuda_driver_present", lambda: True)
    expected = device.cuda_problem()
    host.cuda_problem.cache_clear()
    try:
        assert host.cuda_problem() == expected
    finally:
        host.cuda_problem.cache_clear()


def test_a_package_that_fails_on_import_is_one_line(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "__init__.py").write_text("def\n")
    code, out, err = cli("run", "-a", "model=torn.model:make")
    assert (code, out) == (2, "")
    assert err.startswith("error: cannot import 'torn.model' of model 'torn.model:make': SyntaxErr")
    assert err.count("\n") == 1


def test_an_unknown_option_is_exit_code_2(cli):
    code, _, err = cli("run", "--absent")
    assert code == 2
    assert "--absent" in err


def test_every_command_has_help_with_an_example_in_80_columns(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    names = [command.name or command.callback.__name__ for command in app.registered_commands]
    assert {"list", "run", "report"} <= set(names)
    for name in names:
        code, out, _ = cli(name, "--help")
        assert code == 0
        assert max(map(len, out.splitlines())) <= 80
        assert out.splitlines()[-1].startswith(f"  Example: benchsuite {name}")  # on one line


def test_no_summary_of_a_command_is_cut_in_80_columns(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert "..." not in cli("--help")[1].split("Commands:")[1]


def test_output_to_a_pipe_has_80_columns_or_those_asked_for(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("sys.__stdout__", None)  # not a terminal
    assert _output.console().width == 80
    monkeypatch.setenv("COLUMNS", "133")
    assert _output.console().width == 133


def test_a_percent_sign_stays_with_its_number(monkeypatch):
    monkeypatch.setenv("COLUMNS", "12")
    assert _output.paragraph("aa bb cc 95 % dd", indent="  ") == "aa bb cc\n  95 % dd"


def test_progress_in_a_log_is_a_line_now_and_then(capsys):
    with _progress.progress() as display:
        display.show(_progress.State("lstm", 1, 3, detail="ETA 0:10"))
        display.show(_progress.State("gru", 2, 3))  # too soon
        display.note("failed: gru")
        display.show(_progress.State("tcn", 3, 3, always=True))
    assert capsys.readouterr().err == "[1/3] lstm  ETA 0:10\nfailed: gru\n[3/3] tcn\n"


def test_progress_on_a_terminal_is_a_bar():
    """Names are shown as they are: brackets in them are not markup."""
    terminal = Console(file=io.StringIO(), force_terminal=True, width=80)
    with _progress.bar(terminal) as display:
        display.show(_progress.State("starting"))
        display.show(_progress.State("mine:make[red]", 2, 4, share=0.5, detail="ETA 0:10"))
        display.note("failed: [red] 1")
    shown = terminal.file.getvalue()
    assert "mine:make[red]" in shown
    assert "2/4" in shown
    assert "ETA 0:10" in shown
    assert "failed: [red] 1\n" in shown


def test_a_run_shows_failures_and_the_case_under_way(make_record, capsys, monkeypatch):
    failure = make_record(status="failed", value=None, reason="ValueError: my bug")
    with _progress.progress() as display:
        run.show_progress(display, Progress(total=9, reused=4))
        state = Progress(9, reused=4, done=1, failed=1, current="b", failure=failure)
        run.show_progress(display, state)
        monkeypatch.setattr(_progress, "SECONDS_BETWEEN_LINES", 0.0)
        run.show_progress(display, state)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "starting asv for 9 measurements, 4 already finished"
    assert lines[1] == f"failed: {failure.case.id} latency: ValueError: my bug"
    assert lines[-1] == "[5/9] b  ETA –  failed 1"


@pytest.mark.parametrize(
    "words",
    [["field", "lstm_peephole_diag", "tcn", "-a", "T=16", "-o", "out"], ["check", "gru"]],
)
def test_results_fit_into_80_columns(cli, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = cli(*words)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out


def test_report_of_the_last_study_and_of_a_path(cli, tmp_path, monkeypatch, make_record):
    monkeypatch.chdir(tmp_path)
    code, _, err = cli("report")
    assert code == 2
    assert "nothing was measured yet" in err
    file = RecordFile(tmp_path / ".benchsuite" / "mine" / "records.jsonl")
    for t in (8, 16):
        file.append(make_record(seq_len=t, value=float(t)))
    for words in (["report"], ["report", str(file.path), "-o", "out"]):
        code, out, err = cli(*words, "--json")
        assert (code, err) == (0, "")
        assert json.loads(out)["index"].endswith("index.html")
    assert (tmp_path / "out" / "index.html").exists()
    with file.path.open("a") as broken:
        broken.write('{"torn')
    code, _, err = cli("report", "mine")
    assert code == 0
    assert "line 3: not a record" in err


def test_a_file_without_readable_records_is_refused(cli, tmp_path):
    (tmp_path / "records.jsonl").write_text("noise\n")
    code, _, err = cli("report", str(tmp_path))
    assert code == 2
    assert "no readable record" in err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--train"], "need a --task"),
        (["--task", "delay", "--steps", "5"], "add --train"),
        (["--task", "dely"], "unknown task 'dely': did you mean 'delay'"),
        (["--task", "delay", "-t", "lag=64", "-a", "seq_len=32"], "lag"),
        (["--task", "delay", "--train", "--steps", "0"], "steps = 0 is not allowed"),
    ],
)
def test_impossible_tasks_of_a_field_are_refused(cli, words, expected):
    code, out, err = cli("field", "conv", *words)
    assert (code, out) == (2, "")
    assert expected in err


def test_training_moves_the_field_to_the_lag(cli, tmp_path):
    """A delay of four: after training the gradient sits at lag four, before it does not."""
    words = ["field", "conv", "--task", "delay", "-t", "lag=4", "-a", "seq_len=16"]
    words += ["-a", "hidden_size=8", "-o", str(tmp_path), "--json"]
    before = json.loads(cli(*words)[1])
    after = json.loads(cli(*words, "--train", "--steps", "300")[1])
    assert (after["erf50_sq"], after["erf95_sq"]) == (5, 5)
    assert before["erf95_sq"] > 5 or before["erf50_sq"] < 5
    assert after["receptive_field"] == before["receptive_field"] == 9


def test_version(cli):
    assert cli("--version")[1].startswith("benchsuite 0.")


def test_help_does_not_import_torch_or_pandas():
    code = (
        "import sys; sys.argv = ['benchsuite', '--help']\n"
        "from benchsuite.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'pandas', 'numpy', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
