"""Axes, cases and studies: allowed values, and the errors for others."""

from __future__ import annotations

import os

import pytest

from benchsuite import units
from benchsuite.catalog.measures import MEASURES, task_of
from benchsuite.catalog.models import MODELS
from benchsuite.catalog.tasks import TASKS
from benchsuite.errors import UsageError
from benchsuite.grid.axes import AXES, parse_assignment, parse_single
from benchsuite.grid.case import Case
from benchsuite.grid.study import Study
from benchsuite.grid.study_file import load_study, parse_study, shipped


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("seq_len=64,256,1024", [64, 256, 1024]),
        ("seq_len=64:512:*2", [64, 128, 256, 512]),
        ("hidden_size=32:128:+32", [32, 64, 96, 128]),
        ("seq_len=1:10:*3,7,9", [1, 3, 9, 7]),
        ("seq_len=5:5:*2", [5]),
        ("bidirectional=true,false", [True, False]),
        ("model=lstm,tcn", ["lstm", "tcn"]),
        ("model=my.module:make", ["my.module:make"]),
    ],
)
def test_axis_syntax(text, values):
    assert parse_assignment(text) == (text.partition("=")[0], values)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seq_len=0", "0 is not allowed; whole numbers from 1 to 16777216"),
        ("seq_len=-4", "-4 is not allowed"),
        ("seq_len=99999999999", "is not allowed"),
        ("seq_len=ten", "'ten' is not allowed"),
        ("seq_len=1.5", "'1.5' is not allowed"),
        ("seq_len=nan", "'nan' is not allowed"),
        ("seq_len=", "yields no value"),
        ("seq_len=,", "yields no value"),
        ("seq_len=64:32:*2", "64 is above 32"),
        ("seq_len=1:8:*1", "never ends"),
        ("seq_len=1:8:+0", "never ends"),
        ("seq_len=1:8", "not a range"),
        ("seq_len=1:8:2", "not a range"),
        ("seq_len=1:8:*2:3", "not a range"),
        ("seq_len=1:8:*²", "not a range"),
        ("seq_len=1_0", "'1_0' is not allowed"),
        ("seed=0:2147483647:+1", "has more than 10,000 values; take a wider step"),
        (f"seq_len=1:8:+{'9' * 5000}", "not a range"),
        ("seq_len=a:8:*2", "'a' is not allowed"),
        ("seq_len", "has no '='"),
        ("seqlen=4", "unknown axis 'seqlen': did you mean 'seq_len'"),
        ("model=lstmcell", "unknown model 'lstmcell': did you mean 'lstm_cell'"),
        ("model=a:b:c", "unknown model"),
        ("device=gpu", "unknown device 'gpu': did you mean 'cuda'?"),
        ("model=LSTM", "unknown model 'LSTM': did you mean 'lstm'?"),
        ("dtype=fp32", "unknown dtype 'fp32': did you mean 'float32'?"),
        ("mode=forward", "unknown mode 'forward': did you mean 'infer'?"),
        ("t=64", "unknown axis 't': did you mean 'T'?"),
        ("X=64", "seq_len (T), batch_size (B), hidden_size (H)"),
        ("mode=training", "did you mean 'train'"),
        ("dtype=float8", "unknown dtype"),
        ("bidirectional=maybe", "neither true nor false"),
    ],
)
def test_bad_axis_settings_name_the_value_and_the_fix(text, words):
    with pytest.raises(UsageError) as error:
        parse_assignment(text)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_axes_have_the_letters_that_the_help_speaks_of():
    for text, name in (("T=8:16:*2", "seq_len"), ("B=2", "batch_size"), ("H=4", "hidden_size")):
        assert parse_assignment(text)[0] == name
    study = parse_study("[axes]\nmodel = 'lstm'\nT = [8, 16]\nH = 4\n", "mine")
    assert study.axes == {"model": ("lstm",), "seq_len": (8, 16), "hidden_size": (4,)}
    with pytest.raises(UsageError, match="seq_len and T are one axis; set it once"):
        parse_study("[axes]\nmodel = 'lstm'\nT = 8\nseq_len = 16\n", "mine")


def test_one_value_of_an_axis_under_either_name():
    assert parse_single(["T=8", "seq_len=8"], AXES, "axis", "it takes") == {"seq_len": 8}
    with pytest.raises(UsageError, match="axis 'seq_len': 2 values; it takes one of each axis"):
        parse_single(["T=8", "seq_len=9"], AXES, "axis", "it takes")
    with pytest.raises(UsageError, match="axis 'seq_len' cannot be set here: because"):
        parse_single(["T=8"], AXES, "axis", "it takes", refused={"seq_len": "because"})
    with pytest.raises(UsageError, match="unknown axis of it 'seed'"):
        parse_single(["seed=8"], ["seq_len"], "axis of it", "it takes")


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("200MB", "B", 200e6),
        ("200 mb", "B", 200e6),
        ("1.5GiB", "B", 1.5 * 2**30),
        ("64KiB", "B", 65536),
        ("1e7", "B", 1e7),
        ("12B", "B", 12),
        ("500 ms", "s", 0.5),
        ("2min", "s", 120),
        ("90", "s", 90),
        ("3µs", "s", 3e-6),
    ],
)
def test_sizes_and_durations_are_read(text, unit, value):
    assert units.parse(text, unit) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("text", ["", "MB", "200XB", "-1MB", "1,5GB", "nan", "1e999", "3 s", "１"])
def test_a_size_that_cannot_be_read_names_the_forms(text):
    with pytest.raises(ValueError, match=r"write bytes, or a number with B, kB, MB"):
        units.parse(text, "B")


def test_durations_of_a_study_may_have_units():
    text = "min_run_time = '500 ms'\ntimeout = '2 min'\n[axes]\nmodel = 'lstm'\n"
    budget = parse_study(text, "mine").budget
    assert (budget.min_run_time, budget.timeout) == (0.5, 120)


def test_a_case_is_hashable_and_has_a_stable_id():
    case = Case(model="lstm", seq_len=64, hidden_size=32)
    assert case == Case(model="lstm", seq_len=64, hidden_size=32, input_size=32)
    assert {case: 1}[case.replace()] == 1
    assert case.id == "lstm-T64-B1-H32-infer-cpu"
    odd = case.replace(input_size=3, dtype="float64", num_threads=2, match="params", seed=7)
    assert odd.id == "lstm-T64-B1-H32-I3-infer-cpu-float64-t2-params-s7"
    assert Case.from_row({**odd.as_dict(), "other": 1}) == odd


def test_the_allocators_default_leaves_ids_as_they_were():
    assert Case(model="lstm").id == Case(model="lstm", allocator="default").id
    assert Case(model="lstm", allocator="held").id.endswith("-cpu-alloc=held")
    with pytest.raises(UsageError, match="allocator"):
        Case(model="lstm", allocator="jemalloc")


def test_a_case_checks_its_values():
    with pytest.raises(UsageError, match="unknown model"):
        Case(model="rnn")
    with pytest.raises(UsageError, match="seq_len"):
        Case(model="lstm", seq_len=0)
    with pytest.raises(UsageError, match="resolve 'auto'"):
        Case(model="lstm", device="auto")


@pytest.mark.parametrize("name", shipped())
def test_shipped_studies_are_sound(name):
    study = load_study(name).with_device("cpu")
    cases = study.cases()
    assert len({case.id for case in cases}) == len(cases) == study.size
    assert parse_study(study.to_toml(), "other") == study


def test_quick_is_as_large_as_promised():
    axes = load_study("quick").axes
    sizes = [len(axes[n]) for n in ("model", "seq_len", "batch_size", "hidden_size", "mode")]
    assert all(size >= least for size, least in zip(sizes, (3, 4, 2, 2, 2), strict=True))
    assert {"latency", "peak_memory"} <= set(load_study("quick").measures)


def test_default_is_as_large_as_promised():
    axes = load_study("default").axes
    sizes = [len(axes[n]) for n in ("model", "seq_len", "batch_size", "hidden_size", "mode")]
    assert all(size >= least for size, least in zip(sizes, (6, 6, 3, 3, 2), strict=True))


def test_models_of_one_shape_are_measured_side_by_side():
    study = load_study("quick").with_device("cpu")
    models = [case.model for case in study.cases()[:3]]
    assert models == list(study.axes["model"])


def test_a_derived_study_has_a_name_of_its_own():
    study = load_study("quick")
    derived = study.derive({"model": ["my.module:make"], "seq_len": [8, 16]}, measures=["flops"])
    assert derived.name == "quick+model=my.module.make+seq_len=8,16+measure=flops"
    assert derived.measures == ("flops",)
    assert study.derive({}, name="mine").name == "mine"


ONLY = """
measures = ["latency", "sine_error"]
[axes]
model = ["lstm", "tcn"]
seq_len = [64, 128]
mode = ["infer", "train"]
[only]
sine_error = { seq_len = [64], mode = ["train"] }
"""


def test_an_expensive_measure_is_measured_at_a_part_of_the_grid():
    study = parse_study(ONLY, "mine").with_device("cpu")
    assert len(study.cases()) == len(study.cases("latency")) == 8
    expensive = study.cases("sine_error")
    assert [(c.model, c.seq_len, c.mode) for c in expensive] == [
        ("lstm", 64, "train"),
        ("tcn", 64, "train"),
    ]
    assert parse_study(study.to_toml(), "other") == study
    same = study.derive({"seq_len": [64, 256]})
    assert {c.seq_len for c in same.cases("sine_error")} == {64}
    other = study.derive({"seq_len": [256, 512], "model": ["gru"]})
    assert [(c.model, c.seq_len) for c in other.cases("sine_error")] == [("gru", 256)]
    assert study.derive({}, measures=["latency"]).only == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("axes = 3\n", "[axes] must be a table"),
        ("[axes]\nmodel = 'lstm'\nwidth = 3\n", "unknown axis 'width'"),
        ("[axes]\nmodel = ['lstm']\nseq_len = [0]\n", "0 is not allowed"),
        ("[axes]\nmodel = ['lstm']\nseq_len = []\n", "yields no value"),
        ("[axes]\nmodel = ['lstm']\nseq_len = [2.5]\n", "2.5 is not allowed"),
        ("[axes]\nseq_len = [4]\n", "names no model"),
        ("measure = ['latency']\n", "did you mean 'measures'"),
        ("measures = []\n[axes]\nmodel = 'lstm'\n", "measures nothing"),
        ("measures = ['speed']\n[axes]\nmodel = 'lstm'\n", "unknown measure 'speed'"),
        ("measures = 'latency'\n[axes]\nmodel = 'lstm'\n", "must be a list"),
        ("timeout = -1\n[axes]\nmodel = 'lstm'\n", "timeout = -1 is not allowed"),
        ("min_run_time = 'long'\n[axes]\nmodel = 'lstm'\n", "min_run_time = 'long'"),
        ("min_run_time = 9.0\n[axes]\nmodel = 'lstm'\n", "is below min_run_time"),
        ("[axes\n", "not valid TOML"),
        ("only = 3\n[axes]\nmodel = 'lstm'\n", "[only] must be a table"),
        ("[axes]\nmodel = 'lstm'\n[only]\nlatency = 3\n", "[only] latency must be a table"),
        ("[axes]\nmodel = 'lstm'\n[only]\nflops = {}\n", "unknown measure under [only] 'flops'"),
        (
            "[axes]\nmodel = 'lstm'\nseq_len = [8]\n[only]\nlatency = { seq_len = [9] }\n",
            "measures latency only at seq_len=9, which is not among its own: 8",
        ),
        ("[axes]\nmodel = 'lstm'\n[families]\nlstm = 'linear'\n", "lstm is built in"),
        (
            "[axes]\nmodel = 'lstm'\n[families]\n'my:net' = 'outside'\n",
            "unknown family of 'my:net' under [families] 'outside': allowed: recurrent, linear",
        ),
        ("families = 3\n[axes]\nmodel = 'lstm'\n", "[families] must be a table"),
        ("name = '../up'\n[axes]\nmodel = 'lstm'\n", "study name '../up' is not allowed"),
        ("[axes]\nmodel = 'lstm'\nseq_len = '1:9999:+1'\nseed = '1:99:+1'\n", "at most 200,000"),
    ],
)
def test_bad_studies_are_reported(text, words):
    with pytest.raises(UsageError) as error:
        parse_study(text, "mine")
    assert words in str(error.value)


def test_an_unknown_study_is_reported(tmp_path):
    with pytest.raises(UsageError, match="did you mean 'quick'"):
        load_study("quik")
    with pytest.raises(UsageError, match="No such file"):
        load_study(str(tmp_path / "absent.toml"))
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8"):
        load_study(str(tmp_path / "binary.toml"))


def test_a_study_names_families_of_models_from_outside():
    text = "[axes]\nmodel = ['lstm', 'my:net']\n[families]\n'my:net' = 'linear'\n"
    study = parse_study(text, "mine")
    assert study.families == {"my:net": "linear"}
    assert parse_study(study.to_toml(), "mine") == study
    assert study.derive({"seq_len": (8,)}).families == study.families


def test_a_task_is_known_by_its_measure():
    assert {task_of(f"{task}_error") for task in TASKS.names()} == set(TASKS.names())
    assert [task_of(name) for name in ("latency", "other_error")] == ["", ""]


def test_core_parameters_are_always_shown_to_asv():
    study = Study(name="s", axes={"model": ("lstm",), "seed": (1, 2)}, measures=("flops",))
    assert next(iter(study.params)) == "seed"
    assert {"device", "num_threads", "dtype"} <= set(study.params)
    assert study.with_device("cpu").cases()[1].seed == 2


def test_registries_resolve():
    for spec in MODELS:
        assert callable(spec.factory())
    for spec in MEASURES:
        assert callable(spec.function())
        assert spec.unit in {"s", "B", "FLOP", "step", "ulp", "1", "FLOP/s", "B/s"}


def test_every_axis_is_a_field_of_a_case():
    assert list(AXES) == list(Case.__dataclass_fields__)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"input_size": [1, 8, 16], "hidden_size": [8, 16]},
        {"dtype": ["float32", "float64"], "bidirectional": [False, True], "engine": ["eager"]},
        {"match": ["params"], "num_threads": [2], "seed": [0, 1], "allocator": ["held", "default"]},
    ],
)
def test_ids_of_cases_need_no_cases(changes):
    study = load_study("quick").derive(changes, measures=["latency", "matmul_rate"])
    study = study.with_device("cpu")
    for measure in study.measures:
        ids = list(study.case_ids(measure))
        assert ids == [(case.id, case.model) for case in study.cases(measure)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("timeout = " + "9" * 5000, "Exceeds the limit"),
        ("axes = " + "[" * 5000, "nested too deeply"),
        ("axes = 1979-13-01", "is not valid"),
        ("axes = 3", "must be a table"),
    ],
)
def test_study_files_that_tomllib_cannot_read_are_refused(text, words, tmp_path):
    (path := tmp_path / "s.toml").write_text(text)
    with pytest.raises(UsageError, match=words) as error:
        load_study(str(path))
    assert "\n" not in str(error.value)


def test_a_study_file_is_a_regular_file_of_limited_size(tmp_path):
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(UsageError, match="is not a regular file"):
        load_study(str(tmp_path / "pipe.toml"))
    with (tmp_path / "large.toml").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UsageError, match="is too large; at most 1 MiB are read"):
        load_study(str(tmp_path / "large.toml"))
