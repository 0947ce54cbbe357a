"""Where a number comes from: machine, software, commit and working tree."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import benchsuite
from benchsuite import device as devices


def machine_name() -> str:
    """`BENCHSUITE_MACHINE`, or the host's name (asv's own default)."""
    return os.environ.get("BENCHSUITE_MACHINE") or platform.node() or "unnamed"


@functools.cache
def checkout() -> dict[str, Any]:
    """Commit under test and state of the working tree.

    asv says which commit it has installed (`ASV_COMMIT`); else it is the checkout around asv's
    configuration or the working directory. Outside a repository there is none.
    """
    if os.environ.get("ASV_COMMIT"):
        return {"commit": os.environ["ASV_COMMIT"], "dirty": False}
    root = Path(os.environ.get("BENCHSUITE_CHECKOUT") or os.environ.get("ASV_CONF_DIR") or ".")
    commit = _git(root, "rev-parse", "HEAD")
    if not commit:
        return {}
    changes = _git(root, "status", "--porcelain")
    if not changes:
        return {"commit": commit, "dirty": False}
    text = changes + (_git(root, "diff", "HEAD") or "")
    digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:12]
    return {"commit": commit, "dirty": True, "tree": digest}


def _git(root: Path, *words: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


@functools.cache
def software() -> dict[str, Any]:
    """Versions, processor and memory: what does not change while a process lives."""
    page, pages = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": float(page * pages),
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": _version("numpy"),
        "benchsuite": benchsuite.__version__,
        "asv_runner": _version("asv_runner"),
    }


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _governor() -> str:
    try:
        path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def provenance(device: torch.device) -> dict[str, Any]:
    """All that is known of the surroundings now, as columns of `records.SCHEMA`."""
    tree = {key: value for key, value in checkout().items() if key != "commit"}
    return {
        **software(),
        **tree,
        **devices.tf32_flags(),
        **devices.describe(device),
        "load": os.getloadavg()[0],
        "governor": _governor(),
        "threads": torch.get_num_threads(),
    }
