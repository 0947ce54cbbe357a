"""`benchsuite advise`: right on known surfaces, honest about its error, and no guesses outside."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest

from benchsuite.analysis import advices, advise, fit_surface, newest, prediction, validation
from benchsuite.analysis.advice import COLUMNS
from benchsuite.analysis.prediction import INTERVALS, IntervalsMissingError
from benchsuite.analysis.surface import MIN_CELLS, conformal
from benchsuite.errors import UsageError
from benchsuite.records import RecordFile, to_frame

GRID = tuple(itertools.product((64, 128, 256, 512, 1024), (1, 8, 32), (32, 64, 128)))
TRUTH = {
    "lstm": lambda t, b, h: 1e-4 + 3e-6 * t + 2e-11 * t * b * h * h + 2e-10 * t * b * h,
    "tcn": lambda t, b, h: (math.log2(t) - 1) * (4e-5 + 4e-11 * t * b * h * h),
    "lstm_cell": lambda t, b, h: 7e-5 * t + 1.5e-11 * t * b * h * h,
}
POINT = {"seq_len": 300, "batch_size": 4, "hidden_size": 96}


def rows(make_record, *, noise=0.04, grid=GRID, models=TRUTH, seed=0, fields=True, **own):
    rng = np.random.default_rng(seed)
    for model in models:
        for t, b, h in grid:
            at = {"model": model, "seq_len": t, "batch_size": b, "hidden_size": h, **own}
            value = TRUTH[model](t, b, h) * math.exp(rng.normal(0, noise))
            yield make_record(**at, value=value, samples=[0.99 * value, value, 1.01 * value])
            yield make_record(**at, measure="peak_memory", unit="B", value=4096.0 + 8 * t * b * h)
        if model == "tcn" and fields:
            for t in sorted({t for t, _, _ in grid}):
                yield make_record(
                    model=model, measure="receptive_field", unit="step", value=2.0 * t, seq_len=t
                )


@pytest.fixture(autouse=True)
def _fits_once(monkeypatch, fits):
    """Most tests ask about the same records, whose surfaces take longest."""

    def fitted(points, values):
        key = points.tobytes(), values.tobytes()
        if key not in fits:
            fits[key] = fit_surface(points, values)
        return fits[key]

    monkeypatch.setattr(prediction, "fit_surface", fitted)


@pytest.fixture(scope="module")
def fits():
    return {}


@pytest.fixture(scope="module")
def surfaces():
    """A surface per model, for each of four draws of the noise."""
    points = np.array(GRID, float)
    rng = np.random.default_rng(1)
    return [
        (
            truth,
            fit_surface(
                points, np.array([truth(*p) for p in GRID]) * np.exp(rng.normal(0, 0.05, len(GRID)))
            ),
        )
        for _ in range(4)
        for truth in TRUTH.values()
    ]


def test_points_between_cells_are_predicted_within_a_tenth(surfaces):
    rng = np.random.default_rng(2)
    missed, inside = [], []
    for truth, surface in surfaces:
        factor = conformal(surface.scores)
        for _ in range(60):
            at = (rng.uniform(64, 1024), float(rng.integers(1, 33)), rng.uniform(32, 128))
            log, deviation = surface.predict(at)
            new = math.log(truth(*at)) + rng.normal(0, 0.05)  # another measurement there
            missed.append(abs(math.expm1(new - log)))
            inside.append(abs(new - log) <= factor * deviation)
    assert np.median(missed) <= 0.10
    assert np.mean(inside) >= 0.90


def test_the_reported_error_is_the_error_made(surfaces):
    reported = np.median(np.abs(np.concatenate([surface.errors for _, surface in surfaces])))
    assert reported == pytest.approx(0.05 * 0.6745, rel=0.6)


def test_a_left_out_cell_is_really_left_out():
    """The error of a cell is what a surface fitted without it, with the same scales, misses by."""
    points = np.array(GRID[:20], float)
    values = np.array([TRUTH["lstm"](*p) for p in points])
    values[7] *= 3
    surface = fit_surface(points, values)
    assert math.exp(surface.errors[7]) == pytest.approx(3, rel=0.35)


def test_intervals_from_scores():
    scores = np.arange(1.0, 40)
    assert conformal(scores) == 38
    assert conformal(np.array([0.5, 3.0])) == 3.0
    assert conformal(np.array([0.5])) == 1.96


def test_the_coverage_reported_is_of_cells_held_out(make_record):
    """Not a share that follows from the number of cells: the scores that set the interval."""
    few = [point for point in GRID if point[1] in {1, 8}]
    found = {
        advise(to_frame(rows(make_record, grid=few, seed=seed)), POINT).coverage
        for seed in range(4)
    }
    assert len(found) > 1
    assert all(0.7 <= share <= 1 for share in found)


#: Eight measured peak memories (T, B, H, bytes) over which `scipy.optimize.nnls` goes in a circle.
CIRCLE = (
    (64, 1, 64, 595_208),
    (128, 1, 128, 2_764_296),
    (256, 8, 32, 10_756_232),
    (64, 8, 64, 4_104_456),
    (128, 8, 64, 9_478_408),
    (64, 8, 128, 8_307_208),
    (128, 32, 32, 18_870_408),
    (2048, 32, 128, 1_879_179_784),
)


def test_a_surface_is_fitted_where_the_solver_gives_up(make_record):
    *points, values = (np.array(column, float) for column in zip(*CIRCLE, strict=True))
    surface = fit_surface(np.column_stack(points), values)
    assert np.isfinite(surface.errors).all()
    assert np.median(np.abs(surface.errors)) < 0.1


def test_a_fallback_is_as_good_as_the_solver(monkeypatch):
    points = np.array(GRID, float)
    values = np.array([TRUTH["lstm"](*p) for p in GRID])
    expected = fit_surface(points, values).predict((300.0, 4.0, 96.0))

    def give_up(*_args):
        raise RuntimeError("Maximum number of iterations reached.")

    monkeypatch.setattr("benchsuite.analysis.surface.optimize.nnls", give_up)
    assert fit_surface(points, values).predict((300.0, 4.0, 96.0)) == pytest.approx(
        expected, abs=0.01
    )


def test_a_surface_needs_cells():
    with pytest.raises(ValueError, match=f"a surface needs {MIN_CELLS}"):
        fit_surface(np.ones((3, 3)), np.ones(3))


def test_the_ranking_is_that_of_the_truth(make_record):
    found = advise(to_frame(rows(make_record)), POINT)
    order = sorted(TRUTH, key=lambda model: TRUTH[model](300, 4, 96))
    assert [entry["model"] for entry in found.ranking] == order
    assert found.excluded == []
    for entry in found.ranking:
        latency = entry["latency"]
        assert latency["low"] < TRUTH[entry["model"]](300, 4, 96) < latency["high"]
        assert entry["peak_memory"]["value"] == pytest.approx(4096 + 8 * 300 * 4 * 96, rel=0.02)
    assert found.ranking[0]["reason"].startswith("lowest: ")
    assert "is overhead that batch and width hardly raise" in found.ranking[-1]["reason"]
    assert found.median_abs_error <= 0.1
    assert found.coverage >= 0.9


@pytest.mark.parametrize("same", [{1}, {2}, {1, 2}])
def test_one_batch_or_width_does_not_show_what_grows_with_it(make_record, same):
    grid = [point for point in GRID if all(point[axis] == GRID[0][axis] for axis in same)]
    found = advise(
        to_frame(rows(make_record, grid=grid)),
        {"seq_len": 300, "batch_size": 1, "hidden_size": 32},
    )
    assert found.ranking
    assert not any("of its time is" in entry["reason"] for entry in found.ranking)


def test_fields_parameters_and_errors_stand_beside(make_record):
    own = list(rows(make_record))
    for t in (64, 128, 256, 512, 1024):
        at = {"seq_len": t, "hidden_size": 128}
        own += [
            make_record(model="tcn", measure="receptive_field", unit="step", value=2.0 * t, **at),
            make_record(model="tcn", measure="parameters", unit="1", value=5e4, **at),
            make_record(model="tcn", measure="adding_error", unit="1", value=0.01, **at),
            make_record(
                model="lstm",
                measure="receptive_field",
                unit="step",
                status="skipped",
                reason="unbounded: an output depends on the whole past",
                provenance={"unbounded": True},
                **at,
            ),
        ]
    found = advise(to_frame(own), {**POINT, "hidden_size": 128}, need_field=300)
    entries = {entry["model"]: entry for entry in found.ranking}
    assert entries["tcn"]["receptive_field"] == 512  # of T = 256, and it covers every T
    assert entries["tcn"]["parameters"] == 5e4
    assert entries["tcn"]["adding_error"] == 0.01
    assert entries["lstm"]["receptive_field"] == "unbounded"
    short = advise(to_frame(own), {**POINT, "hidden_size": 128}, need_field=600)
    assert short.excluded == [{"model": "tcn", "reason": "field too short: 512 steps of 600"}]


def test_a_fixed_field_is_too_short_and_an_unknown_one_is_not_assumed(make_record):
    own = list(rows(make_record, models=["lstm", "tcn"], fields=False))
    reported = advise(to_frame(own), POINT, need_field=10).excluded
    assert reported[0]["reason"].startswith("its receptive field was not measured")
    own += [
        make_record(model="tcn", measure="receptive_field", unit="step", value=61.0, seq_len=t)
        for t in (64, 128)
    ]
    reported = advise(to_frame(own), POINT, need_field=100).excluded
    assert reported == [{"model": "tcn", "reason": "field too short: 61 steps of 100"}]


def test_memory_excludes(make_record):
    found = advise(to_frame(rows(make_record)), POINT, max_memory=500_000)
    assert found.ranking == []
    assert all(entry["reason"].startswith("memory too large: ") for entry in found.excluded)
    assert len(advise(to_frame(rows(make_record)), POINT, max_memory=5e6).ranking) == 3


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        (
            {"seq_len": 2049},
            "seq_len=2049 is more than a factor of 2 outside the measured 64 to 1024",
        ),
        ({"seq_len": 31}, "-a seq_len=31,64,128,256,512,1024"),
        (
            {"hidden_size": 1000},
            "measure it: benchsuite run default -a model=lstm,tcn,lstm_cell -a seq_len=",
        ),
        ({"dtype": "float64"}, "no records with dtype=float64; there are: float32"),
    ],
)
def test_no_guesses_outside_what_was_measured(make_record, change, reported):
    with pytest.raises(UsageError) as error:
        advise(to_frame(rows(make_record)), {**POINT, **change})
    assert reported in str(error.value)
    assert "\n" not in str(error.value)


def test_a_factor_of_two_outside_is_still_answered_with_more_doubt(make_record):
    frame = to_frame(rows(make_record))
    inside, outside = (
        advise(frame, {**POINT, "seq_len": t}).ranking[0]["latency"] for t in (300, 2048)
    )
    assert outside["high"] / outside["low"] >= inside["high"] / inside["low"]


def test_a_model_missing_in_half_the_grid_is_excluded_with_why(make_record):
    half = [point for point in GRID if point[2] < 40]
    own = [*rows(make_record, models=["lstm"]), *rows(make_record, models=["tcn"], grid=half)]
    found = advise(to_frame(own), POINT)
    assert [entry["model"] for entry in found.ranking] == ["lstm"]
    assert found.excluded == [{"model": "tcn", "reason": "hidden_size was measured at 32 only"}]
    assert found.ranking[0]["reason"].startswith("the only model")


def test_few_cells_answer_for_themselves_only(make_record):
    one = to_frame(rows(make_record, grid=[(64, 1, 32)], models=["lstm"]))
    at = {"seq_len": 64, "batch_size": 1, "hidden_size": 32}
    found = advise(one, at)
    assert found.ranking[0]["latency"]["value"] == pytest.approx(one["value"].iloc[0])
    assert math.isnan(found.median_abs_error)
    two = to_frame(rows(make_record, grid=[(64, 1, 32), (128, 1, 32)], models=["lstm"]))
    with pytest.raises(UsageError, match="only 2 cells were measured; 4 are needed"):
        advise(two, {**at, "seq_len": 100})
    failed = to_frame([make_record(status="failed", reason="because")])
    with pytest.raises(UsageError, match="no latency was measured"):
        advise(failed, at)
    with pytest.raises(
        UsageError, match="axes batch_size, hidden_size are missing; add -a batch_size=… -a hidden"
    ):
        advise(one, {"seq_len": 64})


def test_columns_that_advice_does_not_read_are_not_needed(make_record):
    frame = to_frame([*rows(make_record), *rows(make_record, mode="train")])
    narrow = frame[list(COLUMNS)]
    assert advices(newest(narrow), POINT) == advices(newest(frame), POINT)
    cell = frame[frame["seq_len"] == 64].groupby(["model", "measure"]).head(1)
    at = {"seq_len": 64, "batch_size": 1, "hidden_size": 32}
    with pytest.raises(IntervalsMissingError):
        advise(cell[list(COLUMNS)], at)
    assert advise(cell[[*COLUMNS, *INTERVALS]], at) == advise(cell, at)


def test_few_cells_on_the_command_line_have_the_intervals_of_their_samples(
    run_command, make_record, tmp_path
):
    file = RecordFile(tmp_path / "records.jsonl")
    samples = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6]
    file.append(make_record(seq_len=8, value=1.3, samples=samples))
    words = ("--study", str(file.path), "-a", "T=8", "-a", "B=1", "-a", "H=64", "--json")
    code, out, err = run_command("advise", *words)
    assert (code, err) == (0, "")
    assert json.loads(out)["ranking"][0]["latency"] == {"value": 1.3, "low": 1.0, "high": 1.6}


def test_constant_times_and_duplicates(make_record):
    own = [
        make_record(seq_len=t, batch_size=b, hidden_size=64, samples=[1.0] * 5)
        for t, b in itertools.product((8, 16, 32), (1, 2))
    ]
    found = advise(to_frame([*own, *own]), {"seq_len": 12, "batch_size": 1, "hidden_size": 64})
    assert found.ranking[0]["latency"]["value"] == pytest.approx(1, rel=0.05)


def test_modes_are_not_mixed(make_record):
    own = [*rows(make_record), *rows(make_record, mode="train", noise=0.3)]
    infer = advise(to_frame(own), POINT)
    train = advise(to_frame(own), {**POINT, "mode": "train"})
    assert train.median_abs_error > 2 * infer.median_abs_error


@pytest.fixture
def cli(monkeypatch, run_command, tmp_path, make_record):
    monkeypatch.chdir(tmp_path)
    file = RecordFile(tmp_path / ".benchsuite" / "mine" / "records.jsonl")
    for record in rows(make_record, grid=GRID[:24]):
        file.append(record)

    return lambda *words: run_command("advise", *words)


AT = ("-a", "seq_len=100", "-a", "batch_size=4", "-a", "hidden_size=96")


def test_the_document(cli):
    code, out, err = cli(*AT, "--json")
    reported = json.loads(out)
    assert (code, err) == (0, "")
    assert {"answer", "match", "ranking", "excluded", "validation"} <= set(reported)
    assert reported["match"] == "width"
    assert reported["answer"]["models"][0] == reported["ranking"][0]["model"]
    assert reported["other_matches"] == []
    assert set(reported["validation"]) == {"median_abs_error", "coverage"}
    assert set(reported["ranking"][0]["latency"]) == {"value", "low", "high"}
    assert {entry["model"] for entry in reported["ranking"]} == set(TRUTH)


def test_words_for_people(cli):
    code, out, _ = cli(*AT, "--study", "mine", "--max-memory", "0.01kB")
    assert code == 0
    assert out.startswith("Every model is excluded: lstm: memory too large")
    assert "excluded: lstm: memory too large" in out
    assert "misses by" in out
    assert "lstm_cell" in cli(*AT)[1]


@pytest.mark.parametrize(
    ("words", "reported"),
    [
        ((*AT, "-a", "model=lstm"), "leave it out"),
        ((*AT, "-a", "num_layers=1,2"), "axis 'num_layers': 2 values; advise takes one"),
        ((*AT, "--mode", "both"), "unknown mode 'both'"),
        ((*AT, "--study", "absent"), "unknown study or path 'absent'"),
        (AT[:4], "axis hidden_size is missing; add -a hidden_size=…"),
        (("-a", "seq_len=9000", *AT[2:]), "measure it: benchsuite run"),
    ],
)
def test_bad_questions_are_one_line(cli, words, reported):
    code, out, err = cli(*words)
    assert (code, out) == (2, "")
    assert reported in err
    assert err.count("\n") == 1


def test_the_report_shows_the_error_that_advise_shows(make_record):
    records = [*rows(make_record), *rows(make_record, mode="train", seed=1)]
    frame = to_frame(records)
    found = validation(frame)
    assert [of["kind"] for of in found] == ["infer, cpu, float32", "train, cpu, float32"]
    reported = advise(frame, {**POINT, "mode": "train"})
    assert found[1]["median_abs_error"] == reported.median_abs_error
    assert found[1]["coverage"] == reported.coverage
    assert found[1]["cells"] == len(GRID) * len(TRUTH)


def test_what_no_mode_changes_may_be_measured_in_one(make_record):
    own = {"model": "tcn", "seq_len": 512, "batch_size": 1, "hidden_size": 32, "mode": "train"}
    records = [
        *rows(make_record, fields=False),
        make_record(**own, measure="receptive_field", unit="step", value=1021.0),
        make_record(**own, measure="parameters", unit="1", value=5000.0),
        make_record(**own, measure="delay_error", unit="1", value=0.25),
    ]
    found = advise(to_frame(records), {**POINT, "hidden_size": 32, "mode": "infer"})
    (tcn,) = [entry for entry in found.ranking if entry["model"] == "tcn"]
    assert (tcn["receptive_field"], tcn["parameters"], tcn["delay_error"]) == (1021, 5000.0, 0.25)


def test_page_faults_are_reported_where_they_take_time(make_record):
    records = [
        dataclasses.replace(
            record,
            provenance={
                **record.provenance,
                "page_faults": 0.3 * record.value / 1e-7 if record.case.model == "tcn" else 2.0,
                "fault_time": 1e-7,
            },
        )
        if record.measure == "latency"
        else record
        for record in rows(make_record)
    ]
    for entry in advise(to_frame(records), POINT).ranking:
        reported = "of its time is page faults" in entry["reason"]
        assert reported == (entry["model"] == "tcn")
    assert "30%" in next(
        e["reason"] for e in advise(to_frame(records), POINT).ranking if e["model"] == "tcn"
    )


OWN = "my.package.of.models:a_gru_with_a_long_name"


def equal_rows(make_record, models, **own):
    """Cells at which every model takes the same time, within 4 % of noise; and their fields."""
    rng = np.random.default_rng(3)
    for model in models:
        for t, b, h in GRID:
            at = {"model": model, "seq_len": t, "batch_size": b, "hidden_size": h, **own}
            value = TRUTH["lstm"](t, b, h) * math.exp(rng.normal(0, 0.04))
            yield make_record(**at, value=value, samples=[0.99 * value, value, 1.01 * value])
        endless = {"status": "skipped", "reason": "unbounded: the whole past", "unit": "step"}
        endless["provenance"] = {"unbounded": True}
        yield make_record(model=model, measure="receptive_field", **endless)


def test_a_model_that_cannot_see_the_input_is_not_recommended(make_record):
    short = [
        make_record(model="conv", seq_len=t, batch_size=b, hidden_size=h, value=1e-6 * t)
        for t, b, h in GRID
    ]
    short += [
        make_record(model="conv", measure="receptive_field", unit="step", value=9.0, seq_len=t)
        for t in (64, 1024)
    ]
    frame = to_frame([*rows(make_record), *short])
    found = advise(frame, POINT)
    assert found.need_field == POINT["seq_len"]
    assert found.answer.models[0] != "conv"
    assert {"model": "conv", "reason": "field too short: 9 steps of 300"} in found.excluded
    assert advise(frame, POINT, need_field=0).answer.models == ["conv"]


def test_one_timestep_is_not_an_answer_for_a_stream(cli):
    at = ("-a", "seq_len=1", "-a", "batch_size=1", "-a", "hidden_size=64")
    for more in ((), ("--need-field", "0")):
        code, out, err = cli(*at, *more)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "tcn, has a field of 5 steps" in err
        assert "mode=stream" in err


def test_a_ranking_at_every_match_the_asked_one_first(make_record, cli):
    two = ["lstm", "tcn"]
    both = [*rows(make_record, models=two), *rows(make_record, models=two, match="params", seed=1)]
    frame = to_frame(both)
    assert [found.match for found in advices(frame, POINT)] == ["width", "params"]
    asked = {**POINT, "match": "params"}
    first, second = advices(frame, asked)
    assert (first.match, second.match) == ("params", "width")
    assert first.need_field == 300  # fields are measured at one match only
    assert first.ranking[0]["receptive_field"]
    file = RecordFile(Path.cwd() / ".benchsuite" / "both" / "records.jsonl")
    for record in both:
        file.append(record)
    out = cli(*AT, "--study", "both")[1]
    assert out.startswith("At equal width: ")
    assert "\nAt equal parameters: " in out
    document = json.loads(cli(*AT, "--study", "both", "--json")[1])
    assert document["match"] == "width"
    assert [other["match"] for other in document["other_matches"]] == ["params"]


def test_the_answer_names_the_parameters_it_hides(make_record):
    own = [
        make_record(model=m, measure="parameters", unit="1", value=v, hidden_size=96, seq_len=t)
        for m, v in (("lstm", 1e4), ("tcn", 5.2e4))
        for t in (256, 300)
    ]
    found = advise(to_frame([*rows(make_record, models=["lstm", "tcn"]), *own]), POINT)
    first, second = (entry["model"] for entry in found.ranking)
    ratio = "5.2" if second == "tcn" else "0.19"
    assert f"times as fast as {second}, which has {ratio} times the parameters" in found.answer.text


def test_no_difference_that_matters_names_the_command(make_record):
    found = advise(to_frame(equal_rows(make_record, ["lstm", OWN])), POINT)
    assert set(found.answer.models) == {"lstm", OWN}
    assert not found.answer.separable
    assert "no difference that matters here" in found.answer.text
    models = ",".join(found.answer.models)
    assert found.answer.command == (
        f"benchsuite run default -a model={models} -a seq_len=300 -a batch_size=4"
        " -a hidden_size=96 -a mode=infer -a match=width --measure latency --measure peak_memory"
        " --measure receptive_field"
    )


def test_the_command_of_an_answer_answers_it(make_record):
    """A study of that one cell is enough for `advise` to answer from."""
    at = {"seq_len": 300, "batch_size": 4, "hidden_size": 96}
    cells = [make_record(model=m, value=v, **at) for m, v in (("lstm", 1.0), ("gru", 2.0))]
    assert advise(to_frame(cells), POINT).answer.models == ["lstm"]


def test_a_suggested_study_has_ones_own_model(make_record):
    frame = to_frame(equal_rows(make_record, ["lstm", OWN]))
    with pytest.raises(UsageError, match=f"-a model=lstm,{OWN} -a seq_len="):
        advise(frame, {**POINT, "seq_len": 9000})
    with pytest.raises(UsageError, match=f"-a model=lstm,{OWN} -a dtype=float64"):
        advise(frame, {**POINT, "dtype": "float64"})


def test_eighty_columns_without_a_folded_word(monkeypatch, make_record, cli):
    monkeypatch.setenv("COLUMNS", "80")
    own = [*rows(make_record), *equal_rows(make_record, [OWN])]
    own += [
        make_record(model=m, measure=f"{task}_error", unit="1", value=1.234e-5, mode="train")
        for m in (*TRUTH, OWN)
        for task in ("sine", "sine_mix", "delay")
    ]
    file = RecordFile(Path.cwd() / ".benchsuite" / "wide" / "records.jsonl")
    for record in own:
        file.append(record)
    code, out, _ = cli(*AT, "--study", "wide")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert OWN in out  # whole, in the sentences
    (head,) = [line for line in out.splitlines() if line.startswith("model ")]
    assert head.split() == [
        "model",
        "latency",
        "95",
        "%",
        "interval",
        "memory",
        "parameters",
        "field",
    ]
    table = out[out.index(head) :].split("\n\n")[0].splitlines()
    assert len(table) == 1 + len(TRUTH) + 1
