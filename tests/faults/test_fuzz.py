"""A short fuzzing of every kind of input: `make faults`, with `FUZZ_SECONDS` for each kind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz import LEAST

SCRIPT = Path(__file__).with_name("fuzz.py")
SECONDS = os.environ.get("FUZZ_SECONDS", "4")


class Fuzzer:
    """A warm process that tries one kind after the other, and reports each in a line."""

    def __init__(self, kinds):
        self.kinds, self.process = kinds, None

    def result(self, kind):
        if self.process is None:
            words = [sys.executable, SCRIPT, "--json", "--seconds", SECONDS, "--tries", "1000000"]
            self.process = subprocess.Popen(
                [*words, *self.kinds[self.kinds.index(kind) :]],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        line = self.process.stdout.readline()
        if not line:  # the next kind gets another process
            err = self.process.communicate()[1]
            code, self.process = self.process.returncode, None
            pytest.fail(f"the process of {kind!r} ended with exit code {code}: {err[-2000:]}")
        return json.loads(line)

    def end(self):
        if self.process:
            self.process.kill()
            self.process.communicate()


@pytest.fixture(scope="module")
def fuzzer(request):
    items = [item for item in request.session.items if item.path == request.path]
    made = Fuzzer([item.callspec.params["kind"] for item in items if hasattr(item, "callspec")])
    yield made
    made.end()


@pytest.mark.faults
@pytest.mark.parametrize("kind", LEAST)
def test_no_input_ends_in_a_traceback(fuzzer, kind):
    found = fuzzer.result(kind)
    assert found["kind"] == kind
    assert found["tried"] > 0
    assert found["failures"] == {}


@pytest.mark.faults
def test_no_input_that_reaches_new_code_ends_in_a_traceback():
    pytest.importorskip("atheris", reason="atheris has no release for this system")
    words = ["--engine", "atheris", "--json", "--seconds", SECONDS, "--tries", "1000000"]
    command = [sys.executable, str(SCRIPT), *words, "studies", "records, loaded"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for found in map(json.loads, done.stdout.splitlines()):
        assert found["tried"] > 0, found
