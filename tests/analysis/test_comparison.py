"""`benchsuite compare`: what is called faster or slower, how often wrongly, and what is refused."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest

from benchsuite.analysis import compare
from benchsuite.errors import UsageError
from benchsuite.records import RecordFile, to_frame


@pytest.fixture
def side(make_record):
    """Build one side: `side(rng, runs=5, slow={0, 3})`, cells of one noise."""

    def build(rng, *, cells=60, runs=5, between=0.03, slow=(), factor=1.1, **own):
        rows = []
        for cell in range(cells):
            truth = 1e-5 * (64 << cell % 6) * (factor if cell in slow else 1.0)
            for run in range(runs):
                value = truth * math.exp(rng.normal(0, between))
                samples = value * np.exp(rng.normal(0, 0.06, 16))
                rows.append(
                    make_record(
                        seq_len=64 << cell % 6,
                        batch_size=1 + cell // 6,
                        value=float(np.median(samples)),
                        samples=samples.tolist(),
                        started_at=float(run),
                        **own,
                    )
                )
        return to_frame(rows)

    return build


def verdicts(found):
    return found.table["verdict"].value_counts().to_dict()


@pytest.mark.parametrize("runs", [1, 2, 5])
def test_equal_sides_are_not_flagged(side, runs):
    rng = np.random.default_rng(runs)
    flagged = sum(
        (
            compare(side(rng, runs=runs), side(rng, runs=runs), "latency").table["verdict"]
            != "cannot tell"
        ).sum()
        for _ in range(4)
    )
    assert flagged / 240 <= 0.01


def test_a_planted_slowdown_is_found_with_ten_runs(side):
    rng = np.random.default_rng(1)
    slow = set(range(0, 60, 3))
    found = compare(side(rng, runs=10), side(rng, runs=10, slow=slow), "latency").table
    hit = found["verdict"] == "slower"
    assert hit[sorted(slow)].mean() >= 0.95
    assert hit[~found.index.isin(slow)].mean() <= 0.05
    assert (found.loc[sorted(slow), "low"] <= 1.1).mean() > 0.9
    assert (found.loc[sorted(slow), "high"] >= 1.1).mean() > 0.9


def test_intervals_of_the_ratio_cover(side):
    rng = np.random.default_rng(2)
    found = compare(side(rng), side(rng, slow=range(60), factor=1.2), "latency").table
    assert ((found["low"] <= 1.2) & (found["high"] >= 1.2)).mean() >= 0.93
    assert found["ratio"].median() == pytest.approx(1.2, rel=0.02)


def test_one_slow_process_is_no_change(side):
    rng = np.random.default_rng(3)
    base, head = side(rng, between=0.01), side(rng, between=0.01)
    row = head.index[7]
    head.at[row, "value"] *= 1.5
    head.at[row, "samples"] = [1.5 * v for v in head.at[row, "samples"]]
    assert verdicts(compare(base, head, "latency")) == {"cannot tell": 60}


def test_where_noise_forbids_it_more_runs_are_asked_for(side):
    rng = np.random.default_rng(4)
    few = compare(side(rng, runs=2, between=0.06), side(rng, runs=2, between=0.06), "latency")
    needed = few.table["runs_needed"]
    assert (needed > 2).all()
    quiet = compare(side(rng, runs=5, between=0.001), side(rng, runs=5, between=0.001), "latency")
    assert quiet.table["runs_needed"].median() <= needed.median() / 3


def test_faster_and_the_threshold(side):
    rng = np.random.default_rng(5)
    base, head = side(rng, runs=8), side(rng, runs=8, slow=range(60), factor=0.8)
    assert verdicts(compare(base, head, "latency")) == {"faster": 60}
    assert verdicts(compare(base, head, "latency", threshold=0.5)) == {"cannot tell": 60}


def test_exact_measures_are_compared_exactly(make_record):
    def rows(values, **own):
        return to_frame(
            make_record(measure="peak_memory", unit="B", seq_len=t, value=v, **own)
            for t, v in enumerate(values, 1)
        )

    found = compare(rows([1000.0, 1000.0, 1000.0]), rows([1000.0, 1001.0, 999.0]), "peak_memory")
    assert found.table["verdict"].tolist() == ["same", "higher", "lower"]
    assert found.table["ratio"].tolist() == pytest.approx([1, 1.001, 0.999])
    twice = to_frame(
        [make_record(measure="peak_memory", unit="B", value=v) for v in (999.0, 1001.0)]
    )
    once = to_frame([make_record(measure="peak_memory", unit="B", value=1000.0)])
    assert compare(once, twice, "peak_memory").table["verdict"].tolist() == ["cannot tell"]


def test_missing_and_failed_cells_are_rows(make_record):
    base = to_frame([make_record(), make_record(seq_len=8), make_record(seq_len=16)])
    oom = make_record(seq_len=8, status="oom", reason="refused")
    table = compare(base, to_frame([make_record(), oom]), "latency").table.set_index("seq_len")
    assert len(table) == 3
    assert table.loc[8, "verdict"] == table.loc[16, "verdict"] == "missing"
    assert table.loc[8, "reason"] == "head: oom, refused"
    assert table.loc[16, "reason"] == "head: not measured"


def test_the_same_attempt_counts_once(side):
    import pandas as pd

    rng = np.random.default_rng(6)
    base = side(rng, runs=2)
    found = compare(pd.concat([base, base], ignore_index=True), side(rng, runs=2), "latency")
    assert (found.table["base_runs"] == 2).all()


def test_one_cell_and_all_failed(make_record):
    one = to_frame([make_record(samples=[1.0, 1.1, 0.9])])
    found = compare(one, one, "latency")
    assert verdicts(found) == {"cannot tell": 1}
    assert any("nothing to estimate the noise" in note for note in found.notes)
    failed = to_frame([make_record(status="failed", reason="because")])
    assert verdicts(compare(failed, failed, "latency")) == {"missing": 1}


def test_constant_times_can_be_compared(make_record):
    frame = to_frame([make_record(seq_len=t, samples=[1.0] * 9) for t in (1, 2, 3)])
    assert verdicts(compare(frame, frame, "latency")) == {"cannot tell": 3}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"machine": "there"}, "records of 2 machines (base: here; head: there)"),
        ({"seq_len": 7}, "no case is in both: base has lstm-T256"),
        ({"measure": "flops"}, "the head has no records of 'latency'"),
    ],
)
def test_what_does_not_compare_is_refused(make_record, changes, told):
    with pytest.raises(UsageError) as error:
        compare(to_frame([make_record()]), to_frame([make_record(**changes)]), "latency")
    assert told in str(error.value)


def test_other_versions_of_a_measure_are_refused(make_record):
    newer = make_record().replace(version="2")
    with pytest.raises(UsageError, match=r"2 versions .*changed its meaning"):
        compare(to_frame([make_record()]), to_frame([newer]), "latency")


def test_another_torch_is_named(make_record):
    newer = make_record(provenance={"torch": "3.0"})
    found = compare(to_frame([make_record()]), to_frame([newer]), "latency")
    assert "torch differs: base 2.0; head 3.0" in found.notes


@pytest.fixture
def cli(monkeypatch, run_command, tmp_path):
    monkeypatch.chdir(tmp_path)

    return run_command


def write(path, make_record, *, factor, commit="", torch="2.0"):
    rng = np.random.default_rng(len(commit) + round(10 * factor))
    for cell in range(12):
        for run in range(5):
            value = 1e-3 * (cell + 1) * factor * math.exp(rng.normal(0, 0.01))
            RecordFile(path).append(
                make_record(
                    seq_len=cell + 1,
                    value=value,
                    samples=[0.99 * value, value, 1.01 * value],
                    commit=commit,
                    started_at=float(run),
                    provenance={"torch": torch},
                )
            )


def test_two_files_on_the_command_line(cli, tmp_path, make_record):
    write(tmp_path / "a.jsonl", make_record, factor=1.0)
    write(tmp_path / "b.jsonl", make_record, factor=1.3)
    code, out, err = cli("compare", "a.jsonl", "b.jsonl")
    assert code == 1
    assert "latency: 12 slower" in out
    assert err == ""
    code, out, _ = cli("compare", "b.jsonl", "a.jsonl", "--json")
    told = json.loads(out)
    assert (code, told["verdicts"]) == (0, {"faster": 12})
    assert told["cases"][0]["base_runs"] == 5
    assert told["noise"]["base"]["source"] == "repeats"


def test_missing_cases_are_grouped_by_reason(cli, tmp_path, make_record, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    why = "device cuda is not available on this machine: " + "many words on why that is " * 9
    for name in ("a", "b"):
        file = RecordFile(tmp_path / f"{name}.jsonl")
        for t in range(1, 33):
            file.append(make_record(seq_len=t, samples=[1.0, 1.0]))
            file.append(make_record(seq_len=t, device="cuda", status="skipped", reason=why))
        for t in (64, 128):  # the numbers in a reason do not make it another one
            file.append(make_record(seq_len=t, status="oom", reason=f"needs {t} B"))
    code, out, _ = cli("compare", "a.jsonl", "b.jsonl")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert len(out.splitlines()) < 12
    assert "32 with device=cuda: both: skipped, device cuda" in out
    assert "2 with device=cpu: for example both: oom, needs 64 B" in out
    assert "latency: 34 missing, 32 cannot tell" in out


def test_changes_fit_into_80_columns(cli, tmp_path, make_record, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for name, factor in (("a", 1.0), ("b", 1.3)):
        file = RecordFile(tmp_path / f"{name}.jsonl")
        for t in range(1000, 1040):
            for run in range(5):
                value = factor * (1 + run / 1000)
                changes = {"seq_len": t, "batch_size": 128, "hidden_size": 1024, "dtype": "float64"}
                changes |= {"value": value, "samples": [value] * 3, "model": "lstm_peephole_diag"}
                file.append(make_record(**changes, started_at=float(run)))
    code, out, _ = cli("compare", "a.jsonl", "b.jsonl")
    assert code == 1
    assert max(len(line.rstrip()) for line in out.splitlines()) <= 80
    assert "slower (40)" in out
    assert "and 10 more, less changed; --json has all" in out
    case = "lstm_peephole_diag-T1000-B128-H1024-infer-cpu-float64"
    lines = [line.split()[0] for line in out.splitlines() if line.strip()]
    assert any(case == one + other for one, other in itertools.pairwise(lines))


def test_where_nothing_is_left_to_compare_it_is_an_error(cli, tmp_path, make_record):
    for name, status in (("a", "ok"), ("b", "failed")):
        record = make_record(status=status, **({} if status == "ok" else {"reason": "planted"}))
        RecordFile(tmp_path / f"{name}.jsonl").append(record)
    code, out, err = cli("compare", "a.jsonl", "b.jsonl")
    assert code == 2
    assert "head: failed, planted" in " ".join(out.split())
    assert "error: nothing was compared" in err


def test_commits_and_torch_versions_of_a_study(cli, tmp_path, make_record):
    path = tmp_path / ".benchsuite" / "tracked" / "records.jsonl"
    write(path, make_record, factor=1.0, commit="aaaa1111")
    write(path, make_record, factor=1.2, commit="bbbb2222", torch="3.0")
    for words in (["aaaa", "bbbb2"], ["2.0", "3.0"], ["aaaa", "bbbb", "--study", "tracked"]):
        code, out, _ = cli("compare", *words, "--json")
        assert (code, json.loads(out)["verdicts"]) == (1, {"slower": 12})
    code, _, err = cli("compare", "aaaa", "cccc")
    assert code == 2
    assert err.startswith(
        "error: 'cccc' is no study, path, measured git revision or torch version; commits:"
    )
    assert err.count("\n") == 1
    assert cli("compare", "aaaa", "bbbb", "--measure", "speed")[0] == 2
    assert cli("compare", "aaaa", "bbbb", "--machine", "there")[0] == 2
