"""The command line: exit codes, one document with --json, errors that help."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchsuite.cli import app
from benchsuite.records import RecordFile


@pytest.fixture
def cli(run_command):
    return run_command


@pytest.mark.parametrize("what", ["models", "measures", "studies", "axes"])
def test_list_as_json(cli, what):
    code, out, err = cli("list", what, "--json")
    rows = json.loads(out)
    assert (code, err) == (0, "")
    assert {"name", "summary"} <= set(rows[0])


def test_list_names_what_the_first_slice_promises(cli):
    models = {row["name"]: row["family"] for row in json.loads(cli("list", "models", "--json")[1])}
    assert list(models) == [
        *("lstm_cell", "lstm_peephole", "lstm_peephole_diag", "lstm_fused", "lstm"),
        *("gru_cell", "gru", "tcn", "tcn_fixed", "conv"),
    ]
    assert models["tcn"] == "convolutional"
    assert set(json.loads(cli("list", "--json")[1])) >= {"models", "measures", "studies", "axes"}


def test_list_for_people(cli):
    code, out, _ = cli("list")
    assert code == 0
    for word in ("lstm_peephole_diag", "peak_memory", "quick", "batch_size"):
        assert word in out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["list", "model"], "unknown list 'model': did you mean 'models'"),
        (["run", "quik"], "unknown study 'quik': did you mean 'quick'"),
        (["run", "-a", "model=lsmt"], "unknown model 'lsmt': did you mean 'lstm'"),
        (["run", "-a", "seqlen=4"], "unknown axis 'seqlen'"),
        (["run", "-a", "seq_len=-4"], "-4 is not allowed"),
        (["run", "-a", "seq_len=8:4:*2"], "yields no value"),
        (["run", "--device", "tpu"], "unknown device 'tpu'"),
        (["run", "--measure", "speed"], "unknown measure 'speed'"),
        (["run", "--name", "../x"], "study name '../x' is not allowed"),
        (["run", "/absent/study.toml"], "cannot read the study file"),
        (["report", "absent"], "unknown study or path 'absent'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(cli, words, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = cli(*words)
    assert (code, out) == (2, "")
    assert told in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


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


def test_every_command_has_help_with_an_example(cli):
    names = [command.name or command.callback.__name__ for command in app.registered_commands]
    assert {"list", "run", "report"} <= set(names)
    for name in names:
        code, out, _ = cli(name, "--help")
        assert code == 0
        assert f"Example: benchsuite {name}" in out


def test_report_of_the_last_study_and_of_a_path(cli, tmp_path, monkeypatch, make_record):
    monkeypatch.chdir(tmp_path)
    code, _, err = cli("report")
    assert code == 2
    assert "nothing was measured yet" in err
    file = RecordFile(tmp_path / ".benchsuite" / "mine" / "records.jsonl")
    for t in (8, 16):
        file.append(make_record(seq_len=t, value=float(t)))
    for words in (["report"], ["report", "mine"], ["report", str(file.path), "-o", "out"]):
        code, out, err = cli(*words, "--json")
        assert (code, err) == (0, "")
        assert json.loads(out)["index"].endswith("index.html")
    assert (tmp_path / "out" / "index.html").exists()
    with file.path.open("a") as broken:
        broken.write('{"torn')
    code, _, err = cli("report", "mine")
    assert code == 0
    assert "line 3: not a record" in err


def test_records_of_nothing_but_noise_are_told(cli, tmp_path):
    (tmp_path / "records.jsonl").write_text("noise\n")
    code, _, err = cli("report", str(tmp_path))
    assert code == 2
    assert "no readable record" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--train"], "need a --task"),
        (["--task", "delay", "--steps", "5"], "add --train"),
        (["--task", "dely"], "unknown task 'dely': did you mean 'delay'"),
        (["--task", "delay", "-t", "lag=64", "-a", "seq_len=32"], "lag"),
        (["--task", "delay", "--train", "--steps", "0"], "steps = 0 is not allowed"),
    ],
)
def test_a_field_on_a_task_that_cannot_be_is_told(cli, words, told):
    code, out, err = cli("field", "conv", *words)
    assert (code, out) == (2, "")
    assert told in err


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
