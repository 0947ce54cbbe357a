"""Looks of models: colours and markers."""

from __future__ import annotations

from types import SimpleNamespace

from benchsuite.report.figures import figure
from benchsuite.report.figures.figure import look


def test_many_built_in_models_have_different_looks(monkeypatch):
    """Forty colours, and then other markers; the first ten models have the palette itself."""
    names = [f"model_{k}" for k in range(120)]
    monkeypatch.setattr(figure, "MODELS", SimpleNamespace(names=lambda: names))
    looks = [look(name) for name in names]
    assert len(set(looks)) == 120
    assert len({colour for colour, _ in looks[:40]}) == 40
    assert [colour for colour, _ in looks[:10]] == list(figure._COLOURS)
    outside = [look(f"my.module:{name}") for name in names]
    assert not {colour for colour, _ in looks} & {colour for colour, _ in outside}
