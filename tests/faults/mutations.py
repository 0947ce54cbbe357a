"""Hypothesis strategies for values, texts and bytes that files from elsewhere may hold."""

from __future__ import annotations

import json
from collections.abc import Callable

from hypothesis import strategies as st

NUMBERS = st.sampled_from([
    *(0, -1, 1, 2, 1.5, -0.0, 1e-320, 1e-9, 1e15, 1e18, 1e100, 1e308, -1e308, 253402300800),
    *(1 << 31, 1 << 53, (1 << 63) - 1, 1 << 63, 1 << 70, -(1 << 63), 10**400),
    *(float("nan"), float("inf"), -float("inf")),
])  # fmt: skip
TEXTS = st.sampled_from([
    *("", " ", "lstm", "conv", "gone:model", "machine", "latency", "sine_error", "gone", "infer"),
    *("s", "B", "parsec", "FLOP/s", "ok", "failed", "started", "crashed", "cuda", "auto", "width"),
    *("nan", "1", "-1", "1e999", "=1+1", "@x", "\tx", "../../x", "/", "a" * 300, "x" * 70_000),
    *("\x00", "\x1b[31m", "\x1b]0;t\x07", "\x9b31m", "\r\n", "\u202e", "\ufffd", "\ud800", "\udcff"),
    *("ProfilerStep#" + "9" * 25, "timestep " + "9" * 5000, "timestep 3", "forward", "aten::mm"),
    *("𝓗 ü", "[/x]", "[red]", "</script>", "%s{0}", "$x_y$", "$\\frac$", "$$", "_", "\\", "-->", "`"),
]) | st.text(max_size=8)  # fmt: skip
LISTS = st.one_of(
    st.lists(NUMBERS | TEXTS, max_size=12),
    st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=12),
    st.lists(NUMBERS, min_size=1, max_size=4).map(lambda few: few * 50),
    st.sampled_from([[[[[[1]]]]], [[1], [2, [3]]], [[[1], 2]], [{}], [[]], [{"a": [1]}]]),
)
#: JSON that no Python value is written as: see `dumped`.
RAW = [
    *(b"[" * 5000 + b"]" * 5000, b'{"a":' * 3000 + b"1" + b"}" * 3000, b"[" * 100_000),
    *(b"9" * 5000, b"1e999", b"-1e999", b"1e-999", b"0." + b"0" * 3000 + b"1", b"-0", b"1.0"),
    *(b'"\\ud800"', b'"\\udc00\\ud800"', b'"\xed\xa0\x80"', b'"\xff"', b'"\t"', b"'x'", b"nul", b""),
    *(b"1,", b"1}", b'"a":1', b"/**/1", b"NaN", b"-Infinity", b"True", b"0x10", b"01", b"1_000"),
]  # fmt: skip
_MARK = "\x00raw{}\x00"
VALUES = (
    NUMBERS
    | TEXTS
    | st.none()
    | st.booleans()
    | LISTS
    | st.dictionaries(TEXTS, NUMBERS | TEXTS, max_size=2)
    | st.integers(0, len(RAW) - 1).map(_MARK.format)
)
#: Bytes of other encodings, of damaged text and of no text.
NOISE = st.sampled_from([
    *(b"\xff\xfe", b"\xef\xbb\xbf", b"\x00", b"\xed\xa0\x80", b"\xc3", b"\n", b"\r", b'"', b"\\u"),
    *(b"]", b"}", b"[" * 5000, b'{"a":' * 2000, b"9" * 5000, b"1e999", b"NaN", b"-", b","),
    *(b"\x1f\x8b", b"\x1f\x8b\x08\x00", b"\x28\xb5\x2f\xfd", b"PK\x03\x04", b"PAR1", b"ARROW1"),
]) | st.binary(max_size=6)  # fmt: skip


def dumped(value: object) -> bytes:
    """A value as JSON with all that Python writes, such as NaN, and the pieces of `RAW`."""
    data = json.dumps(value).encode()
    if b"\\u0000raw" in data:
        for number, piece in enumerate(RAW):
            data = data.replace(json.dumps(_MARK.format(number)).encode(), piece)
    return data


def repeated(row: dict, key: str, value: object) -> bytes:
    """A row as JSON in which one key appears twice."""
    return b"{%b:%b,%b" % (dumped(key), dumped(value), dumped(row)[1:])


@st.composite
def damaged(draw: Callable, data: bytes) -> bytes:
    """Bytes with insertions, deletions, flipped bits, repetitions and another end."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        size = draw(st.sampled_from([0, 1, 2, 30, 1000]))
        if at < len(data) and draw(st.booleans()):
            new = bytes([data[at] ^ 1 << draw(st.integers(0, 7))])
            size = 1
        else:
            new = draw(NOISE) * draw(st.sampled_from([1, 1, 3]))
        data = data[:at] + new + data[at + size :]
    return data[: draw(st.integers(0, len(data)))] if draw(st.integers(0, 3)) == 0 else data


@st.composite
def changed(draw: Callable, content: dict, most: int = 3) -> dict:
    """A JSON object with some values, at any depth, changed or removed."""
    content = dict(content)
    for key in draw(st.lists(st.sampled_from(sorted(content)), max_size=most)):
        if key not in content:
            continue
        inner = content[key]
        if draw(st.integers(0, 3)) == 0:
            del content[key]
        elif isinstance(inner, dict) and inner and draw(st.booleans()):
            content[key] = draw(changed(inner, 1))
        elif isinstance(inner, list) and inner and draw(st.booleans()):
            at = draw(st.integers(0, len(inner) - 1))
            deep = isinstance(inner[at], dict) and inner[at]
            new = draw(changed(inner[at], 2) if deep else VALUES)
            content[key] = [*inner[:at], new, *inner[at + 1 :]]
        else:
            content[key] = draw(VALUES)
    return content
