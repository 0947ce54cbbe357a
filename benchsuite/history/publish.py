"""Publishes asv's pages so that they work offline: clean results, and scripts included."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from benchsuite.errors import BenchsuiteError, UsageError
from benchsuite.history.clean import Cleaned, clean_copy

CONFIGURATION = "asv.conf.json"
#: File that asv 0.6.6's page requests from a server → the file shipped with this package.
_SHIPPED = {
    "jquery-3.3.1.min.js": "jquery.min.js",
    "jquery.flot.min.js": "jquery.flot.min.js",
    "jquery.flot.time.min.js": "jquery.flot.time.min.js",
    "jquery.flot.selection.min.js": "jquery.flot.selection.min.js",
    "jquery.flot.categories.min.js": "jquery.flot.categories.min.js",
    "jquery.flot.orderBars.js": "jquery.flot.orderBars.min.js",
    "stupidtable.min.js": "stupidtable.min.js",
    "md5.min.js": "md5.min.js",
    "bootstrap.min.js": "bootstrap.min.js",
    "bootstrap.min.css": "bootstrap.min.css",
}
_REMOTE = re.compile(r'(src|href)="https?://[^"]*/([^"/]+)"((?: [\w-]+="[^"]*")*)(?=>)')
_TAG = re.compile(r"<(?:script|link|img)\b[^>]*https?://[^>]*>")
_MENU = """\
        <li class="dropdown">
          <a href="#" class="dropdown-toggle" data-toggle="dropdown">
            By sequence length <b class="caret"></b>
          </a>
          <ul class="dropdown-menu">{entries}</ul>
        </li>
"""
#: The menu is inserted before this tag, after the last of asv's own entries.
_BEFORE_MENU = '        <li id="nav-li-graphdisplay">'
_AXIS = "seq_len"


@dataclass(frozen=True, slots=True)
class Site:
    """A published site.

    Attributes:
        index: The first page. The pages load their data by HTTP, so any web server must serve them.
        commits: Commits that have results.
        notes: Sentences about what was left out.
    """

    index: Path
    commits: int
    notes: tuple[str, ...]


def publish(configuration: Path, output: Path | None = None) -> Site:
    """Create the pages of `asv publish` so that they need nothing from the network.

    Args:
        configuration: An asv.conf.json, which names the results and thresholds.
        output: Directory of the pages; by default the one in the configuration. An older site there
            is replaced once the new one is complete.

    Raises:
        UsageError: if there are no results, or the output directory holds other files.
        BenchsuiteError: if asv fails.
    """
    settings = _settings(configuration)
    base = configuration.absolute().parent
    output = (output or base / settings["html_dir"]).absolute()
    _check_replaceable(output)
    with tempfile.TemporaryDirectory(prefix="benchsuite-") as scratch:
        work = Path(scratch)
        cleaned = clean_copy(base / settings["results_dir"], work / "results")
        settings |= {
            "version": 1,
            "repo": _absolute(settings["repo"], base),
            "env_dir": str(base / settings["env_dir"]),
            "results_dir": str(work / "results"),
            "html_dir": str(work / "html"),
        }
        (work / CONFIGURATION).write_text(json.dumps(settings), encoding="utf-8")
        notes = [*cleaned.notes, *_run_asv(work)]
        _make_self_contained(work / "html", cleaned)
        try:
            shutil.rmtree(output, ignore_errors=True)
            shutil.copytree(work / "html", output)
        except OSError as error:
            raise UsageError(
                f"cannot write to {output}: {error.strerror or error}; choose another directory"
                " with -o"
            ) from error
    return Site(output / "index.html", len(cleaned.commits), tuple(notes))


def _settings(configuration: Path) -> dict[str, Any]:
    from asv.config import Config
    from asv.util import UserError

    try:
        return dict(Config.load(str(configuration)).__dict__)
    except (UserError, ValueError, OSError, AttributeError) as error:
        raise UsageError(f"cannot read asv's configuration {configuration}: {error}") from error


def _check_replaceable(output: Path) -> None:
    """Refuse to replace a directory that is not a site of asv."""
    if not output.exists():
        return
    site = {"index.html", "info.json", "graphs"}
    if not output.is_dir() or ((names := {f.name for f in output.iterdir()}) and not site <= names):
        raise UsageError(
            f"{output} holds other files than published pages; choose a new directory with -o"
        )


def _absolute(repo: str, base: Path) -> str:
    return str((base / repo).resolve()) if (base / repo).exists() else repo


def _run_asv(work: Path) -> list[str]:
    """Run `asv publish` and return its warnings as sentences."""
    done = subprocess.run(
        [sys.executable, "-m", "asv", "publish", "--no-pull", "--config", CONFIGURATION],
        cwd=work,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    if done.returncode or not (work / "html" / "index.json").exists():
        raise BenchsuiteError(f"asv publish failed: {lines[-1] if lines else 'no output'}")
    hits = (re.search(r"Couldn't find (\w+) in branches", line) for line in lines)
    off = sorted({hit[1] for hit in hits if hit})
    if not off:
        return []
    plural = "s that are" if len(off) > 1 else " that is"
    return [f"not shown: {len(off)} commit{plural} not on any branch: {', '.join(off)}"]


def _make_self_contained(html: Path, cleaned: Cleaned) -> None:
    """Copy the scripts and styles into the site, and make its page refer to the copies.

    Raises:
        BenchsuiteError: if the page requests another file, as with another version of asv.
    """
    index = html / "index.html"
    page = index.read_text(encoding="utf-8")
    page = _REMOTE.sub(lambda hit: f'{hit[1]}="{_SHIPPED.get(hit[2], hit[0])}"', page)
    if left := _TAG.search(page):
        raise BenchsuiteError(
            f"asv's page requests {left[0][:120]}, which benchsuite does not include;"
            " install asv 0.6.6"
        )
    page = page.replace(_BEFORE_MENU, _menu(cleaned.axes) + _BEFORE_MENU)
    index.write_text(page, encoding="utf-8")
    for source in resources.files("benchsuite.history").joinpath("www").iterdir():
        (html / source.name).write_bytes(source.read_bytes())


def _menu(axes: Mapping[str, tuple[str, ...]]) -> str:
    """Links to the graphs over sequence length; asv's default graphs are over commits."""
    entries = "".join(
        f'<li><a href="#{name}?x-axis={_AXIS}">{name.rpartition(".track_")[2]}</a></li>'
        for name, names in axes.items()
        if _AXIS in names
    )
    return _MENU.format(entries=entries) if entries else ""
