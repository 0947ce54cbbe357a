"""The sweep for real: asv, its forkserver, and processes that die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from asv.results import iter_results

from benchsuite.catalog.measures import MEASURES
from benchsuite.errors import UsageError
from benchsuite.grid.axes import AXES
from benchsuite.grid.case import Case
from benchsuite.grid.study import Budget
from benchsuite.grid.study_file import load_study
from benchsuite.history.results import load_asv_results
from benchsuite.records import load_records, read_rows
from benchsuite.sweep import remaining, suite, trace_study
from benchsuite.sweep.remaining import Remaining
from benchsuite.sweep.watch import Progress, Watch

HERE = Path(__file__).parents[1]
#: A study of the tests: two lengths, and timings as short as its assertions allow.
TINY = str(HERE / "sweep" / "tiny.toml")


def repository(path):
    """An empty git repository to work in."""
    git = ["git", "-C", path, "-c", "user.name=t", "-c", "user.email=t@localhost"]
    subprocess.run(["git", "init", "-q", path], check=True)
    subprocess.run([*git, "commit", "-qm", "start", "--allow-empty"], check=True)
    return path


@pytest.fixture
def project(tmp_path):
    return repository(tmp_path)


def command(*words):
    return [sys.executable, "-m", "benchsuite", *words]


def surroundings():
    paths = os.pathsep.join([str(HERE), str(HERE.parent)])  # faulty models, and this checkout
    variables = {"PYTHONPATH": paths, "BENCHSUITE_MACHINE": "testbed"}
    return {**os.environ, **variables, "PYTHONSAFEPATH": "1"}  # as the installed script has it


def benchsuite(project, *words, timeout=180):
    return subprocess.run(
        command(*words),
        cwd=project,
        env=surroundings(),
        capture_output=True,
        text=True,
        timeout=timeout,
    )


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """One small study, run once: most tests only look at what it left."""
    path = repository(tmp_path_factory.mktemp("swept"))
    words = ["run", TINY, "-a", "seq_len=4,8", "-a", "model=lstm,tcn", "--name", "tiny", "--json"]
    words += [
        w for m in ("latency", "peak_memory", "parameters", "device_time") for w in ("--measure", m)
    ]
    done = benchsuite(path, *words)
    assert done.returncode == 0, done.stderr
    return path, words, json.loads(done.stdout)


def asv_values(path):
    """(measure, parameters) → (result, samples) out of asv's own results."""
    results = path / ".benchsuite" / "tiny" / "asv" / "results"
    benchmarks = json.loads((results / "benchmarks.json").read_text())
    (result,) = iter_results(str(results))
    found = {}
    for name in result.get_all_result_keys():
        params = benchmarks[name]["params"]
        values = result.get_result_value(name, params)
        samples = result.get_result_samples(name, params)
        names = benchmarks[name]["param_names"]
        for i, value in enumerate(values):
            index, rest = [], i
            for options in reversed(params):
                rest, k = divmod(rest, len(options))
                index.insert(0, options[k])
            point = dict(zip(names, index, strict=True))
            found[
                name.rpartition("track_")[2], point["model"].strip("'"), int(point["seq_len"])
            ] = (
                value,
                samples[i],
            )
    return found


def test_balance_of_a_run(swept):
    path, _, balance = swept
    assert balance["study"] == "tiny"
    assert (balance["cases"], balance["ok"], balance["skipped"], balance["failed"]) == (4, 4, 0, 0)
    assert 0 < balance["measure_seconds"] + balance["setup_seconds"] < balance["wall_seconds"]
    assert Path(balance["records"]) == path / ".benchsuite" / "tiny" / "records.jsonl"


def test_asv_keeps_the_numbers_of_the_records(swept):
    path, _, balance = swept
    frame = load_records(balance["records"])
    values = asv_values(path)
    assert len(frame) == len(values) == 16
    for row in frame.itertuples():
        value, samples = values[row.measure, row.model, row.seq_len]
        if row.measure == "device_time":
            assert row.status == "skipped"
            assert "CUDA" in row.reason
            assert value != value  # asv keeps a skip as NaN
            continue
        assert row.status == "ok"
        assert value == pytest.approx(row.value, rel=1e-12 if row.measure != "latency" else 1e-9)
        if row.measure == "latency":
            assert samples == pytest.approx(row.samples, rel=1e-4)  # asv keeps five digits
            assert row.ci_low <= row.value <= row.ci_high
            assert row.n_samples == len(row.samples) > 3
        assert (row.kernel == "") == (row.measure == "parameters")


def test_asvs_own_results_load_into_the_same_frame(swept):
    path, _, balance = swept
    ours = load_records(balance["records"]).sort_values(["case", "measure"], ignore_index=True)
    theirs = load_asv_results(path / ".benchsuite" / "tiny" / "asv" / "results")
    theirs = theirs.sort_values(["case", "measure"], ignore_index=True)
    assert list(ours.columns) == list(theirs.columns)
    for name in ("case", "measure", "unit", "status", "machine", "commit", *AXES):
        assert list(ours[name]) == list(theirs[name]), name
    pd.testing.assert_series_equal(ours["value"], theirs["value"], rtol=1e-9)
    pd.testing.assert_series_equal(ours["ci_high"], theirs["ci_high"], rtol=1e-4)


def test_a_directory_without_asvs_results_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="is not a results directory of asv"):
        load_asv_results(tmp_path)
    (tmp_path / "benchmarks.json").write_text("{}")
    with pytest.raises(UsageError, match="holds no benchmark of the suite"):
        load_asv_results(tmp_path)


def test_records_carry_their_provenance(swept):
    path, _, balance = swept
    head = subprocess.run(
        ["git", "-C", path, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    frame = load_records(balance["records"])
    assert set(frame["commit"]) == {head}
    assert set(frame["machine"]) == {"testbed"}
    assert not frame["dirty"].any()
    timed = frame[frame["measure"] == "latency"]
    assert set(timed["threads"]) == {1}
    for column in ("torch", "numpy", "python", "cpu", "os", "kernel"):
        assert (timed[column] != "").all(), column


def test_the_estimate_weighs_measurements_by_their_cost(make_record):
    """Slow trainings come first: their pace would predict hours, the rest takes seconds."""
    axes = {"device": ["cpu"], "match": ["width"]}
    study = load_study("quick").derive(axes, measures=["delay_error", "parameters"])
    wanted = {
        make_record(measure=name, **case.as_dict()).key: (case, name)
        for name in study.measures
        for case in study.cases(name)
    }
    seconds = {"delay_error": 5.0, "parameters": 0.1}
    left = sum(seconds[name] for _, name in wanted.values())
    now, seen = [100.0], []
    left_to_do = Remaining(study.budget)
    left_to_do.add(wanted)
    watch = Watch(
        Progress(total=len(wanted)),
        left_to_do,
        wanted,
        lambda progress: seen.append(progress.eta),
        clock=lambda: now[0],
    )
    for case, name in wanted.values():
        record = make_record(measure=name, **case.as_dict())
        watch.take(record.replace(status="started"))
        now[0] += seconds[name]
        left -= seconds[name]
        watch.take(record)
        assert seen[-1] < 2 * left + 3
        assert seen[-1] >= left / 3 - 1e-9
    assert seen[0] is None
    assert seen[-1] == 0


def test_the_estimate_follows_the_axes():
    case = Case(model="lstm", seq_len=64, hidden_size=64)
    longer, wider, training = (
        case.replace(seq_len=128),
        case.replace(batch_size=64, hidden_size=256),
        case.replace(mode="train"),
    )
    assert remaining.step_seconds(longer) == 2 * remaining.step_seconds(case)
    assert remaining.step_seconds(training) == 3 * remaining.step_seconds(case)
    assert remaining.step_seconds(wider) > 10 * remaining.step_seconds(case)


@pytest.mark.parametrize("measure", ["parameters", "state_size"])
def test_a_count_without_a_step_is_expected_to_take_as_long_at_every_size(measure):
    large = Case(model="lstm", seq_len=4096, batch_size=64, hidden_size=256, mode="train")
    first, other = (
        remaining.guess(case, MEASURES.get(measure), Budget())
        for case in (Case(model="lstm"), large)
    )
    assert first == other


def test_the_repositorys_benchmark_module_is_the_one_text():
    module = HERE.parent / "benchmarks" / "measures.py"
    assert module.read_text("utf-8") == suite.BENCHMARK_MODULE


def test_tracing_reports_its_progress(tmp_path, monkeypatch):
    monkeypatch.setattr(trace_study.Children, "call", lambda *_, **__: None)
    study = load_study("quick").derive({"device": ["cpu"], "model": ["lstm", "tcn"]})
    seen = []
    notes = trace_study.trace_study(study, tmp_path, on_case=lambda case, *of: seen.append(of))
    assert notes == []
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(
    ("model", "limit", "note"),
    [
        ("raises", 600.0, "ZeroDivisionError: planted over two lines"),
        ("killed", 600.0, "its process was killed by SIGKILL"),
        ("hangs", 0.5, "given up after 0.5 s"),
    ],
)
def test_a_trace_that_fails_is_a_note(tmp_path, monkeypatch, request, model, limit, note):
    """The model is found in the working directory alone."""
    if model != "hangs":  # ends the server
        request.getfixturevalue("shared_server")
    monkeypatch.chdir(HERE)
    monkeypatch.setattr(trace_study, "_RECORDING_SECONDS", limit - 60)
    study = load_study("quick").derive(
        {"device": ["cpu"], "model": [f"faulty:{model}"], "mode": ["infer"], "seq_len": [8]}
    )
    assert study.budget.timeout == 60
    notes = trace_study.trace_study(study, tmp_path)
    assert notes == [f"no trace of {trace_study.selected(study)[0].id}: {note}"]


def test_a_finished_study_is_not_measured_again(swept):
    path, words, first = swept
    size = Path(first["records"]).stat().st_size
    done = benchsuite(path, *words)
    again = json.loads(done.stdout)
    assert done.returncode == 0
    assert (again["reused"], again["ok"], again["measure_seconds"]) == (16, 4, 0)
    assert Path(first["records"]).stat().st_size == size


def test_a_grown_study_measures_only_what_is_new_and_asv_gets_all(swept):
    path, words, first = swept
    values = asv_values(path)
    wider = [w.replace("seq_len=4,8", "seq_len=4,8,12") for w in words]
    again = json.loads(benchsuite(path, *wider).stdout)
    assert (again["cases"], again["ok"], again["reused"]) == (6, 6, 16)
    after = asv_values(path)
    assert len(after) == 24
    for key, (value, samples) in values.items():
        assert after[key][0] == value or value != value
        assert after[key][1] == samples


def test_changed_code_is_measured_again(project):
    """Tracked or not: an edited model is another model, a new report is not."""
    words = ["run", TINY, "-a", "model=mine:make", "--measure", "parameters", "--json"]
    model = project / "mine.py"
    (project / "copy.py").write_text("raise RuntimeError('this is not the standard library')\n")
    reused = []
    for hidden in (3, 3, 4):
        text = f"import torch\ndef make(): return torch.nn.Linear(4, {hidden})\n"
        if not model.exists() or model.read_text() != text:
            model.write_text(text)
        (project / "notes.txt").write_text(str(time.time()))
        done = benchsuite(project, *words)
        assert done.returncode == 0, done.stderr
        assert "the working tree has uncommitted changes" in done.stderr
        reused.append(json.loads(done.stdout)["reused"])
    assert reused == [0, 2, 0]
    frame = load_records(json.loads(done.stdout)["records"])
    assert sorted(frame["value"]) == [15, 15, 20, 20]
    assert frame["dirty"].all()
    assert frame["tree"].nunique() == 2


def test_fresh_measures_again_and_loses_nothing(swept):
    path, words, first = swept
    before = sum(1 for _ in read_rows(Path(first["records"])))
    words = ["run", TINY, "-a", "model=lstm", "--measure", "parameters", "--name", "tiny"]
    done = benchsuite(path, *words, "--fresh", "--json")
    assert json.loads(done.stdout)["reused"] == 0
    assert sum(1 for _ in read_rows(Path(first["records"]))) == before + 4  # two starts, two ends


def test_every_way_to_fail_is_a_row_with_a_reason(project, run_command, monkeypatch):
    faults = ["killed", "segfault", "hangs", "raises", "too_much"]
    models = ",".join(["lstm", *(f"faulty:{fault}" for fault in faults), "gru"])
    study = project / "faults.toml"
    study.write_text(
        "measures = ['latency']\nmin_run_time = 0.01\nmax_run_time = 0.1\ntimeout = 3\n"
        "[axes]\nmodel = 'lstm'\nseq_len = 4\nhidden_size = 4\n"
    )
    done = benchsuite(project, "run", str(study), "-a", f"model={models}", "--name", "faults")
    assert done.returncode == 1, done.stderr
    assert "faults: 2 of 7 cases ok, 0 skipped, 5 failed" in done.stdout
    assert "2 crashed, 1 failed, 1 oom, 1 timeout" in done.stdout
    frame = load_records(project / ".benchsuite" / "faults").set_index("model")
    assert frame["status"].to_dict() == {
        "lstm": "ok",
        "faulty:killed": "crashed",
        "faulty:segfault": "crashed",
        "faulty:hangs": "timeout",
        "faulty:raises": "failed",
        "faulty:too_much": "oom",
        "gru": "ok",
    }
    assert (frame["reason"] != "").sum() == 5
    assert frame.loc["faulty:raises", "reason"] == "ZeroDivisionError: planted over two lines"
    assert "gave up after 3 s" in frame.loc["faulty:hangs", "reason"]
    monkeypatch.chdir(project)
    code, out, err = run_command("report", "faults")
    assert code == 0, err
    assert "planted over two lines" in Path(out.strip()).read_text()


def test_interrupting_leaves_whole_records_and_the_next_run_resumes(project):
    words = ["run", TINY, "-a", "model=faulty:gated", "-a", "batch_size=1,2,3"]
    words += ["--name", "stop", "--measure", "latency"]
    gate = project / "gate"
    gate.touch()
    process = subprocess.Popen(
        # A shell's background job ignores interrupts, and what is ignored is inherited.
        ["env", "--default-signal=INT", *command(*words)],
        cwd=project,
        env={**surroundings(), "FAULTY_GATE": str(gate)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    records = project / ".benchsuite" / "stop" / "records.jsonl"
    starts = 0
    deadline = time.monotonic() + 60
    while starts < 4 and time.monotonic() < deadline:  # the fourth waits at the gate
        time.sleep(0.1)
        starts = records.read_text().count('"status":"started"') if records.exists() else 0
    children = _family(process.pid)
    process.send_signal(signal.SIGINT)
    output, error = process.communicate(timeout=30)
    assert process.returncode == 130, error
    assert "the same command continues from here" in error
    assert " 0 failed, " in output
    assert "not measured yet" in output
    assert not [pid for pid in children if _alive(pid)]
    problems = []
    rows = list(read_rows(records, problems))
    assert not problems
    finished = sum(row["status"] == "ok" for row in rows)
    assert finished == 3
    done = benchsuite(project, *words, "--json")
    assert done.returncode == 0, done.stderr
    balance = json.loads(done.stdout)
    assert (balance["ok"], balance["reused"]) == (6, finished)


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_a_driver_that_is_killed_leaves_nothing_running(project, sign):
    words = ["run", TINY, "-a", "model=faulty:slow", "-a", "batch_size=1:4:+1"]
    words += ["--name", "shot", "--measure", "latency"]
    process = subprocess.Popen(
        command(*words), cwd=project, env=surroundings(), stderr=subprocess.DEVNULL
    )
    records = project / ".benchsuite" / "shot" / "records.jsonl"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(0.1)
        if records.exists() and '"status":"ok"' in records.read_text():
            break
    children = _family(process.pid)
    assert children
    process.send_signal(sign)
    process.wait(timeout=30)
    deadline = time.monotonic() + 20
    while any(map(_alive, children)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in children if _alive(pid)]
    if sign == signal.SIGKILL:  # after SIGTERM the next run finds no other files
        done = benchsuite(project, *words, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["reused"] >= 1


def _alive(pid):
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def _family(pid):
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *_family(child)]
    return found


def test_two_runs_of_one_study_do_not_mix(project):
    words = ["run", TINY, "-a", "model=faulty:slow", "--name", "one", "--measure", "latency"]
    first = subprocess.Popen(
        command(*words),
        cwd=project,
        env=surroundings(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    lock = project / ".benchsuite" / "one" / ".lock"
    while not lock.exists() and first.poll() is None:
        time.sleep(0.05)
    time.sleep(0.3)
    second = benchsuite(project, *words)
    assert second.returncode == 1
    assert "being run by another process" in second.stderr
    first.communicate(timeout=60)
    assert first.returncode == 0


def test_outside_a_repository_it_runs_with_a_note(tmp_path):
    words = ["run", TINY, "-a", "model=lstm", "--measure", "parameters"]
    done = benchsuite(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert "not inside a git repository" in done.stderr
    assert "2 of 2 cases ok" in done.stdout
    again = benchsuite(tmp_path, *words)
    assert "all 2 measurements were already finished" in again.stdout


def test_a_directory_that_cannot_be_written_is_an_error(project):
    done = benchsuite(project, "run", TINY, "--home", "/dev/null/results")
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot write to /dev/null/results")
    assert "--home" in done.stderr


def test_plain_asv_works_on_this_repository(tmp_path):
    """`asv check` of the tracked study, with this repository's own configuration."""
    done = subprocess.run(
        [sys.executable, "-m", "asv", "check", "--environment", "existing:same"],
        cwd=HERE.parent,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No problems found" in done.stdout
