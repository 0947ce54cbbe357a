"""asv's pages without network: `asv publish` on a clean copy of its results, with our scripts."""

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
#: What asv 0.6.6's page asks a server for → the file of ours.
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
#: After the last of asv's own entries.
_MENU_PLACE = '        <li id="nav-li-graphdisplay">'
_AXIS = "seq_len"


@dataclass(frozen=True, slots=True)
class Site:
    """What was published.

    Attributes:
        index: Its first page; asv's pages load their data, so they need a server, any.
        commits: Commits that have results.
        notes: What was left out, in sentences.
    """

    index: Path
    commits: int
    notes: tuple[str, ...]


def publish(configuration: Path, output: Path | None = None) -> Site:
    """Make the pages that `asv publish` makes, such that they need nothing from elsewhere.

    Args:
        configuration: An asv.conf.json, whose results and thresholds are taken.
        output: Directory of the pages; the configuration's own by default. An older site there is
            replaced once the new one is whole.

    Raises:
        UsageError: if there are no results, or the output holds something else.
        BenchsuiteError: if asv fails.
    """
    settings = _settings(configuration)
    base = configuration.absolute().parent
    output = (output or base / settings["html_dir"]).absolute()
    _check_replaceable(output)
    with tempfile.TemporaryDirectory(prefix="benchsuite-") as scratch:
        place = Path(scratch)
        cleaned = clean_copy(base / settings["results_dir"], place / "results")
        settings |= {
            "version": 1,
            "repo": _absolute(settings["repo"], base),
            "env_dir": str(base / settings["env_dir"]),
            "results_dir": str(place / "results"),
            "html_dir": str(place / "html"),
        }
        (place / CONFIGURATION).write_text(json.dumps(settings), encoding="utf-8")
        notes = [*cleaned.notes, *_run_asv(place)]
        _make_self_contained(place / "html", cleaned)
        try:
            shutil.rmtree(output, ignore_errors=True)
            shutil.copytree(place / "html", output)
        except OSError as error:
            raise UsageError(
                f"cannot write to {output}: {error.strerror or error}; choose another place with -o"
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
    """Refuse to replace a directory that is no site of asv."""
    if not output.exists():
        return
    own = {"index.html", "info.json", "graphs"}
    if not output.is_dir() or ((there := {f.name for f in output.iterdir()}) and not own <= there):
        raise UsageError(
            f"{output} holds something else than published pages; choose a new directory with -o"
        )


def _absolute(repo: str, base: Path) -> str:
    return str((base / repo).resolve()) if (base / repo).exists() else repo


def _run_asv(place: Path) -> list[str]:
    """`asv publish`; what it warns of, in sentences."""
    done = subprocess.run(
        [sys.executable, "-m", "asv", "publish", "--no-pull", "--config", CONFIGURATION],
        cwd=place,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    if done.returncode or not (place / "html" / "index.json").exists():
        raise BenchsuiteError(f"asv publish failed: {lines[-1] if lines else 'no output'}")
    found = (re.search(r"Couldn't find (\w+) in branches", line) for line in lines)
    apart = {hit[1] for hit in found if hit}
    if not apart:
        return []
    return [f"not shown: {len(apart)} commits on none of the branches: {', '.join(sorted(apart))}"]


def _make_self_contained(html: Path, cleaned: Cleaned) -> None:
    """Ship what the page would fetch, and say so in it.

    Raises:
        BenchsuiteError: if the page asks for something that is not here: it is another asv's.
    """
    index = html / "index.html"
    page = index.read_text(encoding="utf-8")
    page = _REMOTE.sub(lambda hit: f'{hit[1]}="{_SHIPPED.get(hit[2], hit[0])}"', page)
    if left := _TAG.search(page):
        raise BenchsuiteError(f"asv's page asks for {left[0][:120]}; asv 0.6.6 is needed")
    page = page.replace(_MENU_PLACE, _menu(cleaned.axes) + _MENU_PLACE)
    index.write_text(page, encoding="utf-8")
    for source in resources.files("benchsuite.history").joinpath("www").iterdir():
        (html / source.name).write_bytes(source.read_bytes())


def _menu(axes: Mapping[str, tuple[str, ...]]) -> str:
    """Links to the graphs over sequence length; asv's own start with the commits."""
    entries = "".join(
        f'<li><a href="#{name}?x-axis={_AXIS}">{name.rpartition(".track_")[2]}</a></li>'
        for name, own in axes.items()
        if _AXIS in own
    )
    return _MENU.format(entries=entries) if entries else ""
