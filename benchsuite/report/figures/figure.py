"""What all figures share: ink, colours, and SVG as text."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure as Canvas

from benchsuite.catalog.models import MODELS

#: Ink that becomes the page's own colour where the figure is inlined.
INK = "#1f2328"
_SCHEMES = (
    f"svg {{ color: {INK}; }} @media (prefers-color-scheme: dark) {{ svg {{ color: #e6edf3; }} }}"
)
#: Okabe & Ito's palette and two of Tol's, which the colour-blind can tell apart; order of the
#: registry.
_COLOURS = (
    *("#0072B2", "#56B4E9", "#009E73", "#8C6BB1", "#D55E00"),
    *("#999999", "#E0A800", "#CC79A7", "#882255", "#117733"),
)
#: … and for models from outside, none of which is alike to those.
_OUTSIDE_COLOURS = ("#332288", "#7A4B1E", "#FFAABB", "#00B7C7", "#4D4D4D", "#B8D430")
_OUTSIDE_MARKERS = "<>hdp8H"
#: Points; half the width of a page.
_NARROW = 360
_MARKERS = "osD^vP*X"


@dataclass(frozen=True, slots=True)
class Figure:
    """One drawn figure.

    Attributes:
        name: File name without ending.
        title: What it shows, its match included.
        caption: How to read it, with its n.
        alt: What is to be seen, for who cannot see it.
        svg: A standalone SVG document.
        data: What was drawn; written as CSV beside the figure.
        table: Rows to show beneath, if any.
    """

    name: str
    title: str
    caption: str
    alt: str
    svg: str
    data: pd.DataFrame
    table: pd.DataFrame | None = None

    @property
    def wide(self) -> bool:
        """Whether two of it do not fit beside each other."""
        return float(re.search(r'<svg[^>]*? width="([\d.]+)pt"', self.svg)[1]) > _NARROW  # type: ignore[index]

    def standalone(self) -> str:
        """The SVG as a file whose ink follows the viewer's light or dark scheme."""
        place = self.svg.index(">", self.svg.index("<svg")) + 1
        body = self.svg[place:].replace(INK, "currentColor")
        return f"{self.svg[:place]}<style>{_SCHEMES}</style>{body}"

    def inline(self) -> str:
        """The SVG as an element of a page, in the page's text colour, labelled for readers."""
        body = self.svg[self.svg.index("<svg") :]
        body = body.replace(INK, "currentColor")
        for _ in ("width", "height"):
            body = re.sub(r'(<svg[^>]*?) (?:width|height)="[\d.]+pt"', r"\1", body, count=1)
        # matplotlib names its groups alike in every figure; ids of a page have to differ.
        body = re.sub(r'<g id="[\w.]+"', "<g", body)
        label = html.escape(f"{self.title}. {self.alt}")
        return body.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


_seen: ContextVar[tuple[str, ...]] = ContextVar("models from outside on this page", default=())


@contextmanager
def looks_for(models: Iterable[str]) -> Iterator[None]:
    """Give the models from outside among these looks that differ, inside this.

    Without it a look follows from the model's name alone, and two may meet.
    """
    token = _seen.set(tuple(sorted({*models} - {*MODELS.names()})))
    try:
        yield
    finally:
        _seen.reset(token)


def look(model: str) -> tuple[str, str]:
    """The same colour and marker for a model in every figure; never a built-in's for another."""
    names, seen = MODELS.names(), _seen.get()
    if model in names:
        place, colours, markers = names.index(model), _COLOURS, _MARKERS
    else:
        place = seen.index(model) if model in seen else sum(map(ord, model))
        colours, markers = _OUTSIDE_COLOURS, _OUTSIDE_MARKERS
    return colours[place % len(colours)], markers[(place + place // len(colours)) % len(markers)]


def label(model: str) -> str:
    """A model's short name; from outside its factory's, marked if a built-in model has it."""
    name = model.rpartition(":")[2]
    return f":{name}" if name != model and name in MODELS.names() else name


def house_style(salt: str) -> AbstractContextManager[None]:
    """Draw inside this: text stays text, and the same figure is the same file.

    Args:
        salt: The figure's name, for its ids not to meet another's in one page.
    """
    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        "font.family": "sans-serif",
        "font.size": 9,
        "text.color": INK,
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "grid.color": "#8888884d",
    }
    return mpl.rc_context(style)


def svg_of(canvas: Canvas) -> str:
    """A standalone SVG document."""
    buffer = io.StringIO()
    canvas.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
