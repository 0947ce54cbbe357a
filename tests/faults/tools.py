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
    """A git repository, with its results and the environment of its runs.

    The model `models:gated` reports the case of batch size 2 by the file `reached` in the directory
    `gate`, and waits there until `open_gate` is called: a fault happens in the middle of that case.
    """

    def __init__(self, path):
        self.path, self.mark, self.gate = path, uuid.uuid4().hex, path / "gate"
        self._started = []
        self.gate.mkdir()
        git = ["git", "-C", path, "-c", "user.name=t", "-c", "user.email=t@localhost"]
        subprocess.run(["git", "init", "-q", path], check=True)
        subprocess.run([*git, "commit", "-qm", "start", "--allow-empty"], check=True)
        paths = os.pathsep.join([str(Path(__file__).parent), str(HERE), str(HERE.parent)])
        self.env = {**os.environ, "PYTHONPATH": paths, "BENCHSUITE_MACHINE": "testbed"}
        self.env |= {"PYTHONSAFEPATH": "1", MARK: self.mark, "FAULT_GATE": str(self.gate)}

    def reached(self):
        """Wait until the case of batch size 2 is under way."""
        self.wait_for((self.gate / "reached").exists)

    def open_gate(self):
        """Let the case of batch size 2, now and later, go on."""
        (self.gate / "open").touch()

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

    def run(self, *words, prefix=(), **env):
        """Run a command to its end."""
        process = self.start(*words, prefix=prefix, **env)
        out, err = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def start(self, *words, prefix=(), **env):
        """Start a command, in a session of its own: it cannot kill the process of the tests."""
        process = subprocess.Popen(
            [*prefix, *self.command(*words)],
            cwd=self.path,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def end(self):
        """Kill what is left of a test that was skipped or failed, and forget it."""
        self.signal(KILL)
        for process in self._started:
            process.wait()
            process.stdout.close()
            process.stderr.close()

    def rows(self, name="s"):
        lines = self.records(name).read_text().splitlines() if self.records(name).exists() else []
        return [json.loads(line) for line in lines]

    def records(self, name="s"):
        return self.path / ".benchsuite" / name / "records.jsonl"

    def wait_for(self, condition, seconds=60):
        """Wait for a condition, which is called again and again; its value."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if value := condition():
                return value
            time.sleep(0.02)
        raise AssertionError(
            f"waited {seconds} s in vain; processes: {self.processes()}; rows: {self.rows()}"
        )

    def ok(self, name="s"):
        """Batch sizes of the cases that each run measured, in order.

        A run may repeat a timing that was disturbed, which counts once.
        """
        rows = [row for row in self.rows(name) if row["status"] == "ok"]
        measured = dict.fromkeys((row["run"], row["batch_size"]) for row in rows)
        return [batch_size for _, batch_size in measured]

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
