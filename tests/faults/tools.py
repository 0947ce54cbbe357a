"""What the fault tests share: a small project, a run in the background, and its processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

HERE = Path(__file__).parents[1]
MARK = "BENCHSUITE_FAULT_TEST"


class Project:
    """A git repository, with its results and the environment of its runs."""

    def __init__(self, path):
        self.path, self.mark = path, uuid.uuid4().hex
        git = ["git", "-C", path, "-c", "user.name=t", "-c", "user.email=t@localhost"]
        subprocess.run(["git", "init", "-q", path], check=True)
        subprocess.run([*git, "commit", "-qm", "start", "--allow-empty"], check=True)
        paths = os.pathsep.join([str(Path(__file__).parent), str(HERE), str(HERE.parent)])
        self.env = {**os.environ, "PYTHONPATH": paths, "BENCHSUITE_MACHINE": "testbed"}
        self.env |= {"PYTHONSAFEPATH": "1", MARK: self.mark}

    def study(self, name="s", models="lstm", batches="1:4:+1", timeout=60):
        """The words of `benchsuite run` for a small study."""
        file = self.path / f"{name}.toml"
        file.write_text(
            f"measures = ['latency']\nmin_run_time = 0.01\nmax_run_time = 0.1\ntimeout = {timeout}\n"
            "[axes]\nmodel = 'lstm'\nseq_len = 4\nhidden_size = 4\n"
        )
        words = ["run", str(file), "--name", name, "-a", f"batch_size={batches}"]
        return [*words, "-a", f"model={models}", "--json"]

    def command(self, *words):
        return [sys.executable, "-m", "benchsuite", *words]

    def run(self, *words, timeout=240, prefix=(), **env):
        return subprocess.run(
            [*prefix, *self.command(*words)],
            cwd=self.path,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def start(self, *words, **env):
        return subprocess.Popen(
            self.command(*words),
            cwd=self.path,
            env={**self.env, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def rows(self, name="s"):
        file = self.path / ".benchsuite" / name / "records.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        return [json.loads(line) for line in lines]

    def wait_for(self, condition, seconds=120):
        """Wait for a condition, which is called again and again; its value."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if value := condition():
                return value
            time.sleep(0.02)
        raise AssertionError("waited in vain")

    def ok(self, name="s"):
        return [row for row in self.rows(name) if row["status"] == "ok"]

    def processes(self):
        """Processes of this project's runs: id → command line."""
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if f"{MARK}={self.mark}".encode() in (path / "environ").read_bytes():
                    words = (path / "cmdline").read_bytes().split(b"\0")
                    found[int(path.name)] = b" ".join(words).decode()
            except OSError:
                continue
        return found

    def process(self, words):
        """The id of the process whose command line contains the words, or None."""
        return next((pid for pid, line in self.processes().items() if words in line), None)

    def all_end(self, seconds=20):
        self.wait_for(lambda: not self.processes(), seconds)

    def signal(self, sign):
        for pid in self.processes():
            try:
                os.kill(pid, sign)
            except ProcessLookupError:
                continue


ASV, SERVER = "asv_process", "run_server"
KILL = signal.SIGKILL
