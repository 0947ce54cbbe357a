"""Conversion of units: values are stored in base units, others are only read and shown."""

from __future__ import annotations

import math
import re

#: Unit → (factor between prefixes, prefixed names starting at the base unit).
_SCALES: dict[str, tuple[float, tuple[str, ...]]] = {
    "B": (1024.0, ("B", "KiB", "MiB", "GiB", "TiB", "PiB")),
    "FLOP": (1000.0, ("FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP")),
    "FLOP/s": (1000.0, ("FLOP/s", "kFLOP/s", "MFLOP/s", "GFLOP/s", "TFLOP/s", "PFLOP/s")),
    "B/s": (1000.0, ("B/s", "kB/s", "MB/s", "GB/s", "TB/s", "PB/s")),
}
_SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
#: Unit → accepted name in lower case → factor; powers of 1000 and of 1024 for bytes.
_WRITTEN: dict[str, dict[str, float]] = {
    "B": {
        "": 1.0,
        "b": 1.0,
        **{f"{prefix}b": 1000.0**n for n, prefix in enumerate("kmgtp", 1)},
        **{f"{prefix}ib": 1024.0**n for n, prefix in enumerate("kmgtp", 1)},
    },
    "s": {
        **{"": 1.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "μs": 1e-6, "us": 1e-6, "ns": 1e-9},
        **{"min": 60.0, "h": 3600.0},
    },
}
#: Unit → the accepted forms, for errors.
_FORMS = {
    "B": "bytes, or a number with B, kB, MB, GB, TB (powers of 1000), KiB, MiB, GiB or TiB"
    " (powers of 1024), such as 200MB",
    "s": "seconds, or a number with ns, us, ms, s, min or h, such as 500ms",
}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?|\.[0-9]+)\s*([a-zµμ]*)", re.ASCII)


def scale_for(value: float, unit: str) -> tuple[float, str]:
    """Divisor and name of the display unit that fits `value`; a figure should have one of each.

    Args:
        value: A typical value in base units.
        unit: "s", "B", "FLOP", "step", "ulp", "1", "FLOP/s" or "B/s".

    Returns:
        (divisor, unit name): show `value / divisor` in `unit name`.
    """
    magnitude = abs(value)
    if not math.isfinite(magnitude) or magnitude == 0:
        return 1.0, "" if unit == "1" else unit
    if unit == "s":
        return next(((f, n) for f, n in _SECONDS if magnitude >= f), _SECONDS[-1])
    if unit in _SCALES:
        base, names = _SCALES[unit]
        power = max(0, min(int(math.log(magnitude, base) + 1e-9), len(names) - 1))
        return base**power, names[power]
    return 1.0, "" if unit == "1" else unit


def show(value: float | None, unit: str) -> str:
    """One value as text with its unit: `show(0.00123, "s")` is "1.23 ms"."""
    if value is None or not math.isfinite(value):
        return "–"
    divisor, name = scale_for(value, unit)
    shown = value / divisor
    if divisor == 1.0 and unit != "s" and float(value).is_integer():
        text = f"{int(value):,}"
    else:
        text = f"{shown:.3g}" if abs(shown) < 1000 else f"{shown:,.0f}"
    return f"{text} {name}".rstrip()


def parse(text: str, unit: str) -> float:
    """Read a size or a duration: `parse("200MB", "B")` is 200e6, `parse("500 ms", "s")` is 0.5.

    Args:
        text: A number, optionally with a unit; upper and lower case are not distinguished.
        unit: "B" or "s": the unit of a bare number and of the result.

    Raises:
        ValueError: naming the allowed forms.
    """
    match = _QUANTITY.fullmatch(text.strip().lower())
    factor = _WRITTEN[unit].get(match[2]) if match else None
    if match is None or factor is None or not math.isfinite(float(match[1]) * factor):
        raise ValueError(f"write {_FORMS[unit]}")
    return float(match[1]) * factor


def show_clock(seconds: float) -> str:
    """A duration in minutes and seconds, with hours if necessary: "0:42", "1:05:00"."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def two_digits(ratio: float) -> str:
    """A ratio to two significant digits, without an exponent."""
    if ratio >= 9.95:
        return f"{ratio:,.0f}"
    digits = 1 if ratio >= 0.995 else 2 if ratio >= 0.0995 else 3
    return f"{ratio:.{digits}f}"
