"""`benchsuite compare`: what is called faster or slower, how often wrongly, and what is refused."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pandas as pd
import pytest

from benchsuite.analysis import compare
from benchsuite.analysis.comparison import READ
from benchsuite.analysis.relabelling import enough_runs, least_runs, relabelled
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


@pytest.mark.parametrize("runs", [4, 5])
def test_equal_sides_are_not_flagged(side, runs):
    rng = np.random.default_rng(runs)
    found = [compare(side(rng, runs=runs), side(rng, runs=runs), "latency") for _ in range(8)]
    assert sum(verdicts(own) != {"cannot tell": 60} for own in found) <= 1
    assert all(0 < own.p <= 1 for own in found)


@pytest.mark.parametrize("runs", [1, 2, 3])
def test_with_too_few_runs_nothing_is_called_and_the_verdict_is_too_few_runs(side, runs):
    rng = np.random.default_rng(runs)
    found = compare(side(rng, runs=runs), side(rng, runs=runs, slow=range(60), factor=2), "latency")
    assert verdicts(found) == {"too few runs": 60}
    assert math.isnan(found.p)
    assert (found.table["runs_needed"] >= 4).all()
    assert any(
        note.startswith(f"too few runs: base {runs}, head {runs}.")
        and "4 runs of each side" in note
        for note in found.notes
    )


def test_few_runs_are_enough_beside_many():
    assert not enough_runs(3, 3, 0.05)
    assert enough_runs(4, 4, 0.05)
    assert enough_runs(3, 4, 0.05)
    assert not enough_runs(1, 18, 0.05)
    assert enough_runs(1, 19, 0.05)
    assert least_runs(0.05) == 4
    assert least_runs(0.01) == 5


def test_too_few_runs_of_one_case_do_not_silence_the_rest(side):
    rng = np.random.default_rng(8)
    base, head = side(rng, runs=6), side(rng, runs=6, slow=range(60), factor=1.3)
    head = head[(head["seq_len"] > 64) | (head["started_at"] < 1)]
    found = compare(base, head, "latency")
    assert verdicts(found) == {"slower": 50, "too few runs": 10}
    assert any("too few runs for 10 of 60 cases: base 6, head 1" in note for note in found.notes)


#: Noise in which few runs look like a change: an outlier in some cases, or cases unlike each other.
def unequal(rng, cells, runs):
    own = np.exp(rng.uniform(np.log(0.005), np.log(0.15), (cells, 1)))
    return own * rng.normal(size=(cells, runs))


def outlier(rng, cells, runs):
    logs = rng.normal(0, 0.02, (cells, runs))
    hit = rng.random(cells) < 0.25
    logs[hit, rng.integers(runs, size=hit.sum())] += np.log(rng.uniform(1.3, 2, hit.sum()))
    return logs


def whole_runs(rng, cells, runs):
    return rng.normal(0, 0.02, (cells, runs)) + rng.normal(0, 0.03, runs)


@pytest.mark.parametrize("noise", [unequal, outlier, whole_runs])
@pytest.mark.parametrize("runs", [4, 5, 8])
def test_at_most_one_comparison_in_twenty_is_wrong(noise, runs):
    rng = np.random.default_rng(0)
    sides = (noise(rng, 40, 2 * runs) for _ in range(150))
    p = [relabelled([(row[:runs], row[runs:]) for row in rows], 0.05)[0] for rows in sides]
    assert np.mean(np.array(p) <= 0.05) <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 150)


def test_relabelled_runs_by_brute_force():
    """The p values are what counting every choice of runs gives."""
    rng = np.random.default_rng(1)
    logs = rng.normal(0, 0.1, (5, 8))
    logs[2, 4:] += 0.4
    together, own = relabelled([(row[:4], row[4:]) for row in logs], 0.0)
    ordered = np.sort(logs, axis=1)
    drawn = np.clip(logs, ordered[:, [1]], ordered[:, [-2]])

    def t_of(chosen):
        base, head = drawn[:, chosen], np.delete(drawn, chosen, axis=1)
        squares = ((base - base.mean(1, keepdims=True)) ** 2).sum(1)
        squares += ((head - head.mean(1, keepdims=True)) ** 2).sum(1)
        deviation = np.sqrt(squares / 6)
        return np.abs(head.mean(1) - base.mean(1)) / (deviation + np.median(deviation))

    every = np.array([t_of(list(chosen)) for chosen in itertools.combinations(range(8), 4)])
    sums = (every**4).sum(1)
    assert together == pytest.approx(np.mean(sums >= sums[0] * (1 - 1e-9)))
    expected = [(every >= t * (1 - 1e-9)).mean() for t in every[0]]
    assert own == pytest.approx(expected)


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


@pytest.mark.parametrize("runs", [5, 10])
def test_no_case_is_called_whose_interval_includes_one(side, runs):
    rng = np.random.default_rng(runs)
    called = 0
    for _ in range(4):
        table = compare(
            side(rng, runs=runs, between=0.3),
            side(rng, runs=runs, between=0.3, slow=range(60), factor=1.8),
            "latency",
        ).table
        slower = table[table["verdict"] == "slower"]
        called += len(slower)
        assert (slower["low"] > 1).all()
    assert called


def test_one_slow_process_is_not_a_change(side):
    rng = np.random.default_rng(3)
    base, head = side(rng, between=0.01), side(rng, between=0.01)
    row = head.index[7]
    head.at[row, "value"] *= 1.5
    head["samples"] = head["samples"].astype(object)
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
            make_record(measure="tensor_memory", unit="B", seq_len=t, value=v, **own)
            for t, v in enumerate(values, 1)
        )

    found = compare(rows([1000.0, 1000.0, 1000.0]), rows([1000.0, 1001.0, 999.0]), "tensor_memory")
    assert found.table["verdict"].tolist() == ["same", "higher", "lower"]
    assert found.table["ratio"].tolist() == pytest.approx([1, 1.001, 0.999])
    twice = to_frame(
        [make_record(measure="tensor_memory", unit="B", value=v) for v in (999.0, 1001.0)]
    )
    once = to_frame([make_record(measure="tensor_memory", unit="B", value=1000.0)])
    assert compare(once, twice, "tensor_memory").table["verdict"].tolist() == ["cannot tell"]


def test_the_heap_is_compared_within_its_tolerance(make_record):
    def side(*values):
        return to_frame(
            make_record(measure="peak_memory", unit="B", seq_len=t, value=v)
            for t, v in enumerate(values, 1)
        )

    table = compare(side(1000.0, 1000.0, 1000.0), side(1009.0, 1020.0, 980.0), "peak_memory").table
    assert table["verdict"].tolist() == ["same", "higher", "lower"]


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
    assert verdicts(found) == {"too few runs": 1}
    assert any("noise between processes could not be estimated" in note for note in found.notes)
    failed = to_frame([make_record(status="failed", reason="because")])
    assert verdicts(compare(failed, failed, "latency")) == {"missing": 1}


def test_constant_times_can_be_compared(make_record):
    frame = to_frame([make_record(seq_len=t, samples=[1.0] * 9) for t in (1, 2, 3)])
    assert verdicts(compare(frame, frame, "latency")) == {"too few runs": 3}


@pytest.mark.parametrize(
    ("changes", "reported"),
    [
        ({"machine": "there"}, "records of 2 machines (base: here; head: there)"),
        ({"seq_len": 7}, "no case is in both: base has lstm-T256"),
        ({"measure": "flops"}, "the head has no records of 'latency'"),
    ],
)
def test_what_does_not_compare_is_refused(make_record, changes, reported):
    with pytest.raises(UsageError) as error:
        compare(to_frame([make_record()]), to_frame([make_record(**changes)]), "latency")
    assert reported in str(error.value)


def test_other_versions_of_a_measure_are_refused(make_record):
    newer = make_record().replace(version="2")
    with pytest.raises(UsageError, match=r"2 versions .*changed its meaning"):
        compare(to_frame([make_record()]), to_frame([newer]), "latency")


def test_another_torch_is_named(make_record):
    newer = make_record(provenance={"torch": "3.0"})
    found = compare(to_frame([make_record()]), to_frame([newer]), "latency")
    assert "torch differs: base 2.0; head 3.0" in found.notes


def test_columns_that_a_comparison_does_not_read_are_not_needed(side):
    rng = np.random.default_rng(0)
    base, head = (side(rng, factor=1.3, slow=slow) for slow in ((), {0, 3}))
    whole = compare(base, head, "latency")
    narrow = compare(base[list(READ)], head[list(READ)], "latency")
    pd.testing.assert_frame_equal(narrow.table, whole.table)
    assert (narrow.noise, narrow.notes) == (whole.noise, whole.notes)


@pytest.fixture
def cli(monkeypatch, run_command, tmp_path):
    monkeypatch.chdir(tmp_path)

    return run_command


def write(path, make_record, *, factor, commit="", torch="2.0", runs=5):
    rng = np.random.default_rng(len(commit) + round(10 * factor))
    for cell in range(12):
        for run in range(runs):
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
    reported = json.loads(out)
    assert (code, reported["verdicts"]) == (0, {"faster": 12})
    assert reported["cases"][0]["base_runs"] == 5
    assert reported["noise"]["base"]["source"] == "repeats"


def test_too_few_runs_on_the_command_line(cli, tmp_path, make_record):
    write(tmp_path / "a.jsonl", make_record, factor=1.0, runs=3)
    write(tmp_path / "b.jsonl", make_record, factor=1.5, runs=3)
    code, out, err = cli("compare", "a.jsonl", "b.jsonl")
    assert code == 0
    assert "latency: 12 too few runs" in out
    assert "1.5" in out  # the ratios are there to see
    assert "At least 4 runs of each side are needed" in err
    reported = json.loads(cli("compare", "a.jsonl", "b.jsonl", "--json")[1])
    assert reported["verdicts"] == {"too few runs": 12}
    assert reported["p"] is None
    assert all(case["runs_needed"] >= 4 for case in reported["cases"])


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
    assert len(out.splitlines()) < 15
    assert "32 with device=cuda: both: skipped, device cuda" in out
    assert "2 with device=cpu: for example both: oom, needs 64 B" in out
    assert "latency: 34 missing, 32 too few runs" in out


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
    assert "and 10 more, with smaller changes; --json has all" in out
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
        "error: 'cccc' is not a study, path, measured git revision or torch version; commits:"
    )
    assert err.count("\n") == 1
    assert cli("compare", "aaaa", "bbbb", "--measure", "speed")[0] == 2
    assert cli("compare", "aaaa", "bbbb", "--machine", "there")[0] == 2
