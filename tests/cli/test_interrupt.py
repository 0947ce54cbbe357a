"""Ctrl-C in the first moments of a command."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Names of the modules that are imported from the start of the command until it answers SIGINT.
BEFORE_THE_HANDLER = """
import _signal, sys
names = []
class Finder:
    def find_spec(self, name, *_):
        if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
            names.append(name)
for name in ("signal", "enum", "typing", "__future__"):
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Finder())
import benchsuite.__main__
sys.modules["benchsuite.cli"] = None
try:
    benchsuite.__main__.main()
except ImportError:
    print(*names)
"""
#: A command that ends with an exception which was made of the one of Ctrl-C.
WRAPPED = """
import sys, types
def main():
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt as error:
        {how}
sys.modules["benchsuite.cli"] = stub = types.ModuleType("stub")
stub.main = main
import benchsuite.__main__
benchsuite.__main__.main()
"""


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_nothing_is_imported_before_the_signal_is_answered():
    assert python(BEFORE_THE_HANDLER).stdout.split() == ["benchsuite", "benchsuite.__main__"]


@pytest.mark.parametrize(
    "how", ["raise RuntimeError('__set_name__') from error", "raise ImportError('x')", "raise"]
)
def test_an_error_that_an_import_has_made_of_it_is_one_line(how):
    done = python(WRAPPED.format(how=how))
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_another_error_keeps_its_traceback():
    done = python(WRAPPED.format(how="pass\n    raise ImportError('x')"))
    assert done.returncode == 1
    assert done.stderr.endswith("ImportError: x\n")
