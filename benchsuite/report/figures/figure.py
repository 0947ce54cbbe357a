"""Shared parts of all figures: ink, colours and markers of models, and SVG as text."""

from __future__ import annotations

import functools
import html
import io
import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure as Canvas

from benchsuite.catalog.models import MODELS

#: Ink that becomes the page's text colour where the figure is inlined.
INK = "#1f2328"
_SCHEMES = (
    f"svg {{ color: {INK}; }} @media (prefers-color-scheme: dark) {{ svg {{ color: #e6edf3; }} }}"
)
#: Colours of built-in models, in the order of the catalog: Okabe & Ito's palette and two of Tol's,
#: which colour-blind people can distinguish. Where they are used up, they come again in the shades
#: below, with other markers.
_COLOURS = (
    *("#0072B2", "#56B4E9", "#009E73", "#8C6BB1", "#D55E00"),
    *("#999999", "#E0A800", "#CC79A7", "#882255", "#117733"),
)
#: Colours of models from outside; none is similar to a built-in model's.
_OUTSIDE_COLOURS = ("#332288", "#7A4B1E", "#FFAABB", "#00B7C7", "#4D4D4D", "#B8D430")
_OUTSIDE_MARKERS = "<>hdp8H"
#: Half the width of a page, in points.
_NARROW = 360
_MARKERS = "osD^vP*X"
#: Rounds of the colours: what is mixed in, and its share.
_SHADES = (("#000000", 0.0), ("#000000", 0.4), ("#FFFFFF", 0.5), ("#000000", 0.65))


@dataclass(frozen=True, slots=True)
class Figure:
    """One drawn figure.

    Attributes:
        name: File name without ending.
        title: Its subject, the match included.
        caption: How to read it, with the number of cases.
        alt: Alternative text for screen readers.
        svg: A standalone SVG document.
        data: The rows drawn; written as CSV beside the figure.
        table: Rows shown below the figure, if any.
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
        """Whether it is too wide to stand beside another figure."""
        return float(re.search(r'<svg[^>]*? width="([\d.]+)pt"', self.svg)[1]) > _NARROW  # type: ignore[index]

    def standalone(self) -> str:
        """The SVG as a file whose ink follows the viewer's light or dark scheme."""
        end = self.svg.index(">", self.svg.index("<svg")) + 1
        body = self.svg[end:].replace(INK, "currentColor")
        return f"{self.svg[:end]}<style>{_SCHEMES}</style>{body}"

    def inline(self) -> str:
        """The SVG as an element of a page: in the page's text colour, with its alternative text."""
        body = self.svg[self.svg.index("<svg") :]
        body = body.replace(INK, "currentColor")
        for _ in ("width", "height"):
            body = re.sub(r'(<svg[^>]*?) (?:width|height)="[\d.]+pt"', r"\1", body, count=1)
        # matplotlib gives groups the same ids in every figure; ids of a page have to differ.
        body = re.sub(r'<g id="[\w.]+"', "<g", body)
        label = html.escape(f"{self.title}. {self.alt}")
        return body.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


_outside: ContextVar[tuple[str, ...]] = ContextVar("models from outside on this page", default=())


@contextmanager
def looks_for(models: Iterable[str]) -> Iterator[None]:
    """Inside this context, models from outside among these have distinct looks.

    Without it a look follows from the model's name alone, and two models may share one.
    """
    token = _outside.set(tuple(sorted({*models} - {*MODELS.names()})))
    try:
        yield
    finally:
        _outside.reset(token)


def look(model: str) -> tuple[str, str]:
    """Colour and marker of a model, the same in every figure.

    A model from outside never has those of a built-in model.
    """
    names, outside = MODELS.names(), _outside.get()
    colours: tuple[str, ...]
    if model in names:
        number, colours, markers = names.index(model), _shaded(), _MARKERS
    else:
        number = outside.index(model) if model in outside else sum(map(ord, model))
        colours, markers = _OUTSIDE_COLOURS, _OUTSIDE_MARKERS
    marker = markers[(number + number // len(colours)) % len(markers)]
    return colours[number % len(colours)], marker


@functools.cache
def _shaded() -> tuple[str, ...]:
    """The colours of built-in models, round by round."""
    return tuple(
        _mixed(colour, other, share).upper() for other, share in _SHADES for colour in _COLOURS
    )


def _mixed(colour: str, other: str, share: float) -> str:
    """A colour with a share of another one mixed in, as `#rrggbb`."""
    first, second = np.array(to_rgb(colour)), np.array(to_rgb(other))
    red, green, blue = ((1 - share) * first + share * second).tolist()
    return to_hex((red, green, blue))


def label(model: str) -> str:
    """A model's short name: the factory's, with a colon if a built-in model has the same name."""
    name = model.rpartition(":")[2]
    return f":{name}" if name != model and name in MODELS.names() else name


def house_style(salt: str) -> AbstractContextManager[None]:
    """A context to draw in: text stays text, and equal figures give equal files.

    Args:
        salt: The figure's name; it keeps ids of several figures on one page distinct.
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
