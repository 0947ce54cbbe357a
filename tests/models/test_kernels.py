"""Compiled kernels: the cache, its faults, and machines without a compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchsuite import measure
from benchsuite.catalog.measures import MEASURES
from benchsuite.errors import Unsupported
from benchsuite.grid.case import Case
from benchsuite.models.kernels import compiler
from benchsuite.models.kernels.operators import call
from benchsuite.models.linear.scan import recur
from benchsuite.records import provenance
from benchsuite.runtime.assemble import assemble
from benchsuite.runtime.workload import Workload

SMALL = "int FUNCTION;\nint answer(void) { return 42; }\n"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, which is the directory of compiled libraries once there is one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CC", raising=False)
    compiler._loaded.cache_clear()
    yield tmp_path / "cache" / "benchsuite" / "kernels"
    compiler._loaded.cache_clear()


@pytest.fixture
def source(tmp_path):
    """A small source, compiled in a tenth of a second."""
    path = tmp_path / "small.c"
    path.write_text(SMALL)
    return path


def answer(source):
    return compiler._library(source).answer()


def files(cache):
    return sorted(path.name for path in cache.iterdir())


# --- the cache


def test_a_library_is_compiled_once(cache, source, monkeypatch):
    assert answer(source) == 42
    (name,) = files(cache)
    assert name.startswith("small-")
    monkeypatch.setattr(compiler, "_compiled", None)  # cannot be called
    assert answer(source) == 42


def test_another_source_header_compiler_or_flag_is_another_library(cache, source, monkeypatch):
    command = compiler._command()
    source.write_text(f'#include "size.h"\n{SMALL}')
    header = source.with_name("size.h")
    header.write_text("#define SIZE 1\n")
    keys = {compiler._key(source, command)}
    header.write_text("#define SIZE 2\n")
    keys.add(compiler._key(source, command))
    source.write_text(f"{source.read_text()}\n")
    keys.add(compiler._key(source, command))
    keys.add(compiler._key(source, [*command, "-DX"]))
    monkeypatch.setattr(compiler, "_FLAGS", (*compiler._FLAGS, "-DX"))
    keys.add(compiler._key(source, command))
    assert len(keys) == 5


def test_the_cache_of_another_processor_is_not_used(cache, source, monkeypatch):
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(compiler, "_processor", lambda: "x86_64 avx512f")
        assert answer(source) == 42
    (foreign,) = cache.iterdir()
    foreign.write_bytes(b"instructions that this processor does not have")
    assert answer(source) == 42
    assert len(files(cache)) == 2


def test_the_processor_is_known_by_its_instruction_sets():
    facts = compiler._processor()
    assert facts.startswith(os.uname().machine)
    if os.uname().machine == "x86_64":
        assert {"sse2", "fpu"} <= set(facts.split())


def test_a_damaged_library_is_compiled_again(cache, source):
    library = cache / f"small-{compiler._key(source, compiler._command())}.so"
    cache.mkdir(mode=0o700, parents=True)
    library.write_bytes(b"\x7fELF")
    assert answer(source) == 42
    assert library.stat().st_size > 1000
    assert len(files(cache)) == 1


def test_two_processes_that_compile_at_once_leave_one_library(cache, source, tmp_path):
    slow = tmp_path / "slow"
    slow.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] || sleep 0.5\nexec {compiler._command()[0]} "$@"\n'
    )
    slow.chmod(0o755)
    code = (
        "import sys; from pathlib import Path; from benchsuite.models.kernels import compiler;"
        f"assert 'torch' not in sys.modules; print(compiler._library(Path({str(source)!r})).answer())"
    )
    surroundings = {**os.environ, "CC": str(slow)}
    both = [
        subprocess.Popen([sys.executable, "-c", code], env=surroundings, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    assert [process.communicate()[0] for process in both] == [b"42\n", b"42\n"]
    assert len(files(cache)) == 1


def test_a_cache_that_others_can_write_to_is_left_alone(cache, source):
    assert answer(source) == 42
    (library,) = cache.iterdir()
    library.write_bytes(b"planted")
    cache.chmod(0o777)
    with pytest.warns(RuntimeWarning, match=r"can be written to by others \(chmod 700.+small.c is"):
        assert answer(source) == 42
    assert library.read_bytes() == b"planted"


def test_a_cache_of_another_user_is_left_alone(cache, source, monkeypatch):
    cache.mkdir(parents=True)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.warns(RuntimeWarning, match="belongs to another user"):
        assert answer(source) == 42
    assert files(cache) == []


def test_without_a_cache_a_library_is_compiled_in_a_temporary_directory(
    cache, source, tmp_path, monkeypatch
):
    (tmp_path / "cache").write_text("a file where the directory should be")
    monkeypatch.setattr(compiler.tempfile, "tempdir", str(tmp_path / "private"))
    (tmp_path / "private").mkdir()
    with pytest.warns(RuntimeWarning, match="no cache.*again in each process"):
        assert answer(source) == 42
    assert list((tmp_path / "private").iterdir()) == []


# --- compilers


def test_the_package_ziglang_is_a_compiler(cache, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(compiler.importlib.util, "find_spec", lambda name: name == "ziglang")
    assert compiler._command() == [sys.executable, "-m", "ziglang", "cc"]


@pytest.fixture
def no_compiler(cache, monkeypatch, tmp_path):
    """No compiler, but git and what else the suite calls."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "git").symlink_to(shutil.which("git"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(compiler.importlib.util, "find_spec", lambda name: None)


def test_without_a_compiler_a_case_is_skipped_with_the_fix(no_compiler):
    record = measure(Case(model="lru_native", seq_len=4), "latency")
    assert record.status == "skipped"
    assert record.reason == (
        "lru_native needs a kernel compiled on this machine: a C compiler is needed, and neither CC"
        " nor cc, gcc or clang is there; install one, such as by `apt-get install gcc` or"
        " `pip install 'benchsuite[native]'`"
    )


def test_without_a_compiler_what_is_counted_is_counted(no_compiler):
    for name in ("parameters", "flops", "state_size"):
        record = measure(Case(model="mingru_native", seq_len=4), name)
        assert (record.status, record.reason) == ("ok", "")


def test_without_a_compiler_commands_end_with_one_line(no_compiler, run_command):
    for words in (["check", "lru_native"], ["field", "lru_native", "-a", "seq_len=8"]):
        code, _, err = run_command(*words)
        assert code in {1, 2}
        assert "a C compiler is needed" in " ".join(err.split())
        assert "Traceback" not in err


@pytest.mark.parametrize("command", ["no-such-compiler -O2", "'", " "])
def test_a_compiler_that_is_not_there_is_named(cache, monkeypatch, command):
    monkeypatch.setenv("CC", command)
    assert compiler.unavailable("linear_scan.c") == (
        f"the C compiler CC={command!r} is not found; correct or unset CC"
    )


def test_an_error_of_the_compiler_is_one_line(cache, source):
    source.write_text("int answer(void) { return forty_two; }")
    with pytest.raises(compiler.Unavailable, match=r"cannot compile small.c: .+forty_two") as error:
        compiler._library(source)
    assert "\n" not in str(error.value)
    assert files(cache) == []


def test_a_failed_attempt_is_not_repeated(cache, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    first = compiler.unavailable("linear_scan.c")
    monkeypatch.delenv("CC")
    assert compiler.unavailable("linear_scan.c") == first
    with pytest.raises(compiler.Unavailable, match="no-such-compiler"):
        compiler.load("linear_scan.c")


# --- kernels in the suite


def test_kernels_do_not_run_on_another_device():
    with pytest.raises(
        Unsupported, match="lru_native is a kernel for the CPU and cannot run on cuda"
    ):
        assemble(Case(model="lru_native", device="cuda"))


def test_a_dtype_without_a_kernel_is_refused_in_one_line():
    a = torch.ones(2, dtype=torch.float16)
    with pytest.raises(ValueError, match=r"compute in float32, .+complex128, not in torch.float16"):
        recur(a, a.expand(1, 3, 2), None, "native")


def test_the_kernel_is_recorded():
    for model, expected in (("lru_native", ("native", False)), ("lru_loop", ("ATen", True))):
        workload = Workload(Case(model=model, seq_len=8))
        workload.build()
        assert (workload.kernel, workload.looped) == expected


def test_scratch_that_cannot_be_allocated_is_an_error(monkeypatch):
    monkeypatch.setattr("benchsuite.models.kernels.operators.function", lambda *_: lambda *_: 1)
    with pytest.raises(MemoryError, match="no memory for the scratch of linear_scan"):
        call("linear_scan.c", "linear_scan", torch.ones(1))


def test_a_change_to_a_kernel_is_measured_again(monkeypatch):
    """The digest of a measurement covers the C source and what it includes."""
    seen = set()
    add = provenance._add
    monkeypatch.setattr(
        provenance, "_add", lambda digest, file: seen.add(file) or add(digest, file)
    )
    provenance.source.__wrapped__("mingru_native", MEASURES.get("latency"))
    names = {path.name for path in seen}
    assert {"minimal.c", "elementary.h", "compiler.py", "scan.py"} <= names
    seen.clear()
    provenance.source.__wrapped__("lru_native", MEASURES.get("latency"))
    assert "linear_scan.c" in {path.name for path in seen}
    assert Path(compiler.__file__).with_name("minimal.c") not in seen
    seen.clear()
    provenance.source.__wrapped__("gru", MEASURES.get("latency"))
    assert not {path for path in seen if "kernels" in path.parent.name}
