"""Study files with values that nobody writes: one short line each, and no traceback."""

from __future__ import annotations

import pytest

from benchsuite.errors import UsageError
from benchsuite.grid.study_file import parse_study

LONG = "x" * 9000
#: More digits than Python shows, and than a float holds.
NUMBERS = ("0x" + "f" * 9000, "1" * 400)


def test_a_measure_can_be_limited_to_some_models():
    text = "[axes]\nmodel = ['lstm', 'gru']\n[only.latency]\nmodel = 'gru'\n"
    study = parse_study(text, "mine").with_device("cpu")
    assert [case.model for case in study.cases("latency")] == ["gru"]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
    "key", ["timeout", "name", "description", "measures", "axes.device", "axes.seq_len", "only.x.T"]
)
def test_a_number_of_too_many_digits_is_refused(key, number):
    with pytest.raises(UsageError, match="does not fit into 64 bits"):
        parse_study(f"{key} = {number}\naxes.model = 'lstm'\n", "mine")


@pytest.mark.parametrize(
    "text",
    [
        f"{LONG} = 1",
        f"timeout = '{LONG}'",
        f"measures = '{LONG}'",
        f"measures = ['{LONG}']",
        f"axes.device = '{LONG}'",
        f"axes.seq_len = '{LONG}'",
        f"axes.seq_len = '1:2:{LONG}'",
        f"axes.bidirectional = '{LONG}'",
        f"axes.{LONG} = 1",
        f"only.{LONG} = 1",
        f"only.{LONG}.T = 1",
        f"families.gru = '{LONG}'",
        f"families.'{LONG}' = '{LONG}'",
        "only.latency.seq_len = 9\naxes.seq_len = '10:10000:+1'",
    ],
    ids=lambda text: text[:20],
)
def test_a_message_about_a_long_value_is_short(text):
    with pytest.raises(UsageError) as error:
        parse_study(f"{text}\naxes.model = 'lstm'\n", "mine")
    assert len(str(error.value)) < 1000
    assert "\n" not in str(error.value)
