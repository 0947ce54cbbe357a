"""Panels of labelled tiles, one below the other, narrow enough for a phone.

Tiles are opaque and their text contrasts with their colour, so both are the same on a light and on
a dark page. Tiles without a value are translucent, with text in the page's colour.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import Colormap, to_rgb
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullLocator

from benchsuite.report.figures.figure import INK, house_style, label, svg_of

#: Width in points; a phone shows about 350.
WIDTH = 324.0
_FONT, _SMALL = 9.0, 8.0
_LINE = 1.2  # distance of two lines of text, relative to the font's size
_GLYPH = 0.6  # width of a letter, relative to the font's size
_STRIP = 5.0
_GAP = 1.0
#: Almost black: pure black would be written without a colour, and so follow the page.
_DARK, _LIGHT = "#010101", "#ffffff"
_NONE = "#8888884d"


@dataclass(frozen=True, slots=True)
class Tile:
    """One cell.

    Attributes:
        lines: Lines of text.
        colour: Its colour; "" where it has no value.
        strips: Colours of narrow strips at its lower edge.
    """

    lines: tuple[str, ...]
    colour: str = ""
    strips: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark in one row, with its interval, in columns: 0 is the centre of the first."""

    row: int
    at: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Panel:
    """A table of tiles.

    Attributes:
        title: Its title.
        columns: Labels, from the left.
        rows: Labels, from the top.
        tiles: (row, column) → tile; missing ones were not in the study and are hatched.
        marks: Marks in rows.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[str]
    tiles: dict[tuple[int, int], Tile]
    marks: Sequence[Mark] = ()


@dataclass(frozen=True, slots=True)
class Scale:
    """A colour scale above the panels: `colours` from 0 to 1, labels at positions between."""

    colours: Colormap
    labels: Sequence[tuple[float, str]]
    title: str


def ink_on(colour: str) -> str:
    """Black or white: the one with more contrast (WCAG 2.2, relative luminance)."""
    channels = np.array(to_rgb(colour), float)
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ (0.2126, 0.7152, 0.0722))
    return _DARK if (luminance + 0.05) ** 2 > 0.05 * 1.05 else _LIGHT


def fitted(text: str, columns: int, margin: float, prefix: str = "") -> list[str]:
    """A prefix and a model's name in lines that fit a tile of a panel with that many columns."""
    room = max(int((WIDTH - margin) / columns / (_GLYPH * _SMALL)), 4)
    name = prefix + label(text)
    if len(name) <= room:
        return [name]
    head, under, tail = name.partition("_")
    parts = [f"{head}{under}", tail] if tail else [name]
    return [part if len(part) <= room else f"{part[: room - 1]}…" for part in parts]


def draw_tiles(
    panels: Sequence[Panel],
    title: str,
    salt: str,
    *,
    xlabel: str,
    ylabel: str,
    margin: float,
    scale: Scale | None = None,
) -> str:
    """All panels as an SVG document.

    Args:
        panels: At least one panel.
        title: The figure's title.
        salt: The figure's name.
        xlabel: Label of the columns, below the last panel.
        ylabel: Label of the rows of every panel.
        margin: Points left of the tiles, for the rows' labels.
        scale: The colour scale, where colours stand for numbers.
    """
    heading = textwrap.wrap(title, 52)
    lines = max((len(tile.lines) for panel in panels for tile in panel.tiles.values()), default=1)
    strips = any(tile.strips for panel in panels for tile in panel.tiles.values())
    row = max(lines, 1) * _SMALL * _LINE + 7 + (_STRIP if strips else 0)
    top = len(heading) * 13.0 + 6
    bar = 42.0 if scale else 0.0
    heights = [row * len(panel.rows) for panel in panels]
    height = top + bar + sum(h + 36 for h in heights) + 16
    with house_style(salt):
        canvas = Canvas(figsize=(WIDTH / 72, height / 72))

        def place(y: float, h: float, x: float = margin, w: float = WIDTH - margin - 4) -> Axes:
            """Axes at points from the top left."""
            return canvas.add_axes((x / WIDTH, 1 - (y + h) / height, w / WIDTH, h / height))

        for number, line in enumerate(heading):
            y = 1 - (11 + 13 * number) / height
            canvas.text(4 / WIDTH, y, line, fontsize=10, fontweight="bold")
        if scale:
            _draw_scale(place, scale, top)
        y = top + bar
        for panel, own in zip(panels, heights, strict=True):
            axes = place(y + 18, own)
            _draw_panel(axes, panel, row)
            axes.set_ylabel(ylabel)
            y += own + 36
        axes.set_xlabel(xlabel)
        return narrow(svg_of(canvas))


def narrow(svg: str) -> str:
    """The SVG with a style that keeps it to a phone's width on the page."""
    return svg.replace("<svg ", '<svg style="min-width: 0; max-width: 29rem" ', 1)


def _draw_scale(place: Callable[..., Axes], scale: Scale, y: float) -> None:
    axes = place(y + 15, 8)
    steps = 40
    for step in range(steps):
        axes.add_patch(
            Rectangle((step / steps, 0), 1.01 / steps, 1, fc=scale.colours((step + 0.5) / steps))
        )
    axes.set_xticks([at for at, _ in scale.labels], [label for _, label in scale.labels])
    axes.yaxis.set_major_locator(NullLocator())
    axes.tick_params(length=2, labelsize=_SMALL)
    axes.get_xticklabels()[-1].set_horizontalalignment("right")  # not beyond the figure's edge
    axes.set_title(scale.title, fontsize=_SMALL, loc="left", pad=3)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _draw_panel(axes: Axes, panel: Panel, height: float) -> None:
    axes.set_xlim(-0.5, len(panel.columns) - 0.5)
    axes.set_ylim(len(panel.rows) - 0.5, -0.5)
    axes.set_title(panel.title, fontsize=_FONT, loc="left", pad=4)
    axes.set_xticks(range(len(panel.columns)), panel.columns)
    axes.set_yticks(range(len(panel.rows)), panel.rows)
    axes.tick_params(length=0, pad=3)
    for spine in axes.spines.values():
        spine.set_visible(False)
    point = 1 / height
    boxes: list[_Box] = []
    holes: list[_Box] = []
    for y in range(len(panel.rows)):
        for x in range(len(panel.columns)):
            box = _Box(x - 0.48, y - 0.5 + _GAP * point, 0.96, 1 - 2 * _GAP * point)
            tile = panel.tiles.get((y, x))
            if tile is None:
                holes.append(box)
                continue
            boxes.append(box.filled(tile.colour or _NONE))
            foot = _STRIP * point if tile.strips else 0.0
            width = box.width / max(len(tile.strips), 1)
            for number, colour in enumerate(tile.strips):
                left, top = box.left + number * width, box.top + box.height - foot
                boxes.append(_Box(left, top, width, foot, colour))
            _write(axes, tile, x, y - foot / 2, point)
    # One artist for all tiles: a rectangle per tile takes seconds for a large map.
    axes.add_collection(_collection(boxes, facecolors=[box.colour for box in boxes]))
    axes.add_collection(_collection(holes, facecolors="none", edgecolors="#88888866", hatch="////"))
    for mark in panel.marks:
        _draw_mark(axes, mark)


@dataclass(frozen=True, slots=True)
class _Box:
    left: float
    top: float
    width: float
    height: float
    colour: str = ""

    def filled(self, colour: str) -> _Box:
        return _Box(self.left, self.top, self.width, self.height, colour)

    def corners(self) -> list[tuple[float, float]]:
        right, bottom = self.left + self.width, self.top + self.height
        return [(self.left, self.top), (right, self.top), (right, bottom), (self.left, bottom)]


def _collection(boxes: Sequence[_Box], **style: Any) -> PolyCollection:
    return PolyCollection([box.corners() for box in boxes], linewidths=0, **style)


def _write(axes: Axes, tile: Tile, x: float, y: float, point: float) -> None:
    """A tile's lines, centred."""
    ink = ink_on(tile.colour) if tile.colour else INK
    step = _SMALL * _LINE * point
    start = y - step * (len(tile.lines) - 1) / 2
    for number, line in enumerate(tile.lines):
        at = start + number * step
        axes.text(x, at, line, color=ink, fontsize=_SMALL, ha="center", va="center_baseline")


def _draw_mark(axes: Axes, mark: Mark) -> None:
    """A dark mark with a light rim, visible on any tile and on any page."""
    for colour, extra in ((_LIGHT, 1.6), (_DARK, 0.0)):
        style = {"color": colour, "solid_capstyle": "butt"}
        for ends in ((-0.48, -0.3), (0.3, 0.48)):  # not across the middle, where the text is
            y = [mark.row + end for end in ends]
            axes.add_line(Line2D([mark.at] * 2, y, linewidth=2 + extra, **style))  # type: ignore[arg-type]
        foot = [mark.row + 0.44] * 2
        axes.add_line(Line2D([mark.low, mark.high], foot, linewidth=1.2 + extra, **style))  # type: ignore[arg-type]
