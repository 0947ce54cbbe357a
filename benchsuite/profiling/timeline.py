"""A trace as one self-contained HTML page, which needs neither network nor server."""

from __future__ import annotations

import base64
import gzip
import json
from importlib import resources

import numpy as np
import pandas as pd

from benchsuite.profiling.categories import CATEGORIES


def timeline_page(frame: pd.DataFrame, title: str) -> str:
    """A self-contained HTML page: a flame chart of a frame of `load_frame`, a lane per thread.

    Args:
        frame: The frame of one trace.
        title: Heading of the page; any text.
    """
    depth, parents = [0] * len(frame), frame["parent"].tolist()
    kernels = (frame["kind"] == "kernel").tolist()
    for row, parent in enumerate(parents):  # a parent comes before its children
        if parent >= 0 and not kernels[row]:
            depth[row] = depth[parent] + 1
    threads = frame["thread"].cat.codes.to_numpy()
    columns = (
        np.rint(frame["start"].to_numpy() * 1e8).astype("<u4"),  # in 10 ns: 42 s at most
        np.rint(frame["total_time"].to_numpy() * 1e8).astype("<u4"),
        frame["op"].cat.codes.to_numpy().astype("<u2"),
        np.minimum(depth, 255).astype("u1"),
        np.array([CATEGORIES.index(str(c)) for c in frame["category"]], "u1"),
        threads.astype("u1"),
    )
    packed = gzip.compress(b"".join(column.tobytes() for column in columns), 6)
    data = {
        "title": title,
        "rows": len(frame),
        "ops": list(frame["op"].cat.categories),
        "categories": CATEGORIES,
        "threads": list(frame["thread"].cat.categories),
        "packed": base64.b64encode(packed).decode("ascii"),
    }
    page = (resources.files("benchsuite.profiling") / "timeline.html").read_text("utf-8")
    # "</script>" in the name of an operator would end the element that holds the data.
    return page.replace("__DATA__", json.dumps(data).replace("</", "<\\/"))
