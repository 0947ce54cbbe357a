"""C sources compiled once per machine, compiler and version of the source, and loaded with ctypes.

`load("linear_scan.c")` returns a library that was compiled from the source of that name beside this
file. The compiler is `CC`, or the first of cc, gcc and clang, or the one in the package ziglang.
Libraries are kept in `XDG_CACHE_HOME/benchsuite/kernels` (`~/.cache` by default) under a name that
holds a digest of source, compiler, flags and the processor's instruction sets: a cache that another
processor has filled is not used, since its code might end in an illegal instruction here. A library
appears in the cache complete or not at all, so that processes may compile at the same time.

Only libraries that nobody else could have written are loaded: a cache that belongs to another user,
or that others may write to, is left alone. Without a usable cache a library is compiled in a
private temporary directory, in each process that needs it.

The flags keep IEEE arithmetic. `-ffast-math` would assume that there are no NaNs, on which the
probe of the receptive field relies, and with older compilers a library built with it sets the
process that loads it to flush denormals to zero, torch's operators included. What it allows beyond
these flags is reordering sums, which a source allows by a pragma where it wants it. Denormals are
treated as by torch's operators in the same thread: `torch.set_flush_denormal` applies to kernels
too.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.util
import os
import platform
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

#: All instructions of this processor; compilers for x86 and others call that differently.
_NATIVE = "-march=native" if platform.machine() in {"x86_64", "i686"} else "-mcpu=native"
_FLAGS = (
    *("-std=c11", "-O3", _NATIVE, "-fPIC", "-shared"),
    *("-ffp-contract=fast", "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math"),
)
#: Seconds after which a compiler is given up.
_LIMIT = 120.0
_INCLUDE = re.compile(rb'^#include "(.+?)"', re.MULTILINE)


class Unavailable(RuntimeError):  # noqa: N818 - a property of the machine
    """Kernels cannot be compiled or loaded here; the message is one line, with the fix."""


def load(source: str) -> ctypes.CDLL:
    """The library compiled from a source beside this file; compiled now if it is not cached.

    Raises:
        Unavailable: if it cannot be compiled or loaded.
    """
    library, problem = _loaded(source)
    if library is None:
        raise Unavailable(problem)
    return library


def unavailable(source: str) -> str:
    """Why `load` fails on this machine; empty if it does not. The library is compiled now."""
    return _loaded(source)[1]


def problem_on(device: str, source: str) -> str:
    """Why a model cannot run on a device, which needs this kernel; empty if it can."""
    if device != "cpu":
        return f"is a kernel for the CPU and cannot run on {device}"
    problem = unavailable(source)
    return problem and f"needs a kernel compiled on this machine: {problem}"


@functools.cache
def _loaded(source: str) -> tuple[ctypes.CDLL | None, str]:
    """The library or the problem; a failed attempt is not repeated either."""
    try:
        return _library(Path(__file__).with_name(source)), ""
    except Unavailable as error:
        return None, str(error)


def _library(source: Path) -> ctypes.CDLL:
    command = _command()
    name = f"{source.stem}-{_key(source, command)}.so"
    try:
        directory, problem = _cache(), ""
    except OSError as error:
        directory, problem = None, f"no cache: {error}"
    if directory is not None:
        problem = _unsafe(directory)
    if directory is None or problem:
        warnings.warn(
            f"{problem}; {source.name} is compiled in a temporary directory, again in each process",
            RuntimeWarning,
            stacklevel=2,
        )
        with tempfile.TemporaryDirectory(prefix="benchsuite-") as private:
            return _opened(_compiled(source, command, Path(private) / name))
    library = directory / name
    if library.exists():
        try:
            return _opened(library)
        except Unavailable:
            pass  # incomplete or damaged: it is compiled again
    return _opened(_compiled(source, command, library))


def _opened(library: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise Unavailable(f"the compiled library cannot be loaded: {_first_line(error)}") from error


def _command() -> list[str]:
    """The compiler as the words of a command."""
    given = os.environ.get("CC")
    if given:
        try:
            words = shlex.split(given)
        except ValueError:
            words = []
        if not words or not shutil.which(words[0]):
            raise Unavailable(f"the C compiler CC={given!r} is not found; correct or unset CC")
        return words
    found = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if found:
        return [found]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc"]
    raise Unavailable(
        "a C compiler is needed, and neither CC nor cc, gcc or clang is there; install one, such as"
        " by `apt-get install gcc` or `pip install 'benchsuite[native]'`"
    )


def _key(source: Path, command: list[str]) -> str:
    """Digest of what the compiled code depends on."""
    digest = hashlib.sha256()
    texts = [source.read_bytes()]
    others = sorted({name.decode() for name in _INCLUDE.findall(texts[0])} - {source.name})
    texts += [source.with_name(name).read_bytes() for name in others]
    version = _run([*command, "--version"]).stdout
    for part in (*texts, version, " ".join([*command, *_FLAGS]).encode(), _processor().encode()):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:20]


def _processor() -> str:
    """Architecture and instruction sets of this machine's first processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    facts = [next((line for line in lines if line.startswith(f)), "") for f in _FACTS]
    return " ".join([platform.machine(), platform.processor(), *facts])


#: Starts of the lines that identify a processor, on x86 and on Arm.
_FACTS = ("vendor_id", "cpu family", "model\t", "flags", "CPU part", "Features")


def _cache() -> Path:
    """The directory of compiled libraries, created if it is missing.

    Raises:
        OSError: if it cannot be created.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(base) if Path(base).is_absolute() else Path("~/.cache").expanduser()
    directory = root / "benchsuite" / "kernels"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


def _unsafe(directory: Path) -> str:
    """Why the cache is not used; empty if it can be."""
    found = directory.stat()
    if found.st_uid != os.getuid():
        return f"the cache {directory} belongs to another user"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"the cache {directory} can be written to by others (chmod 700 would change that)"
    if not os.access(directory, os.W_OK):
        return f"the cache {directory} cannot be written to"
    return ""


def _compiled(source: Path, command: list[str], library: Path) -> Path:
    """Compile under a temporary name, and rename."""
    try:
        handle, name = tempfile.mkstemp(".tmp", library.stem, library.parent)
        os.close(handle)
    except OSError as error:
        raise Unavailable(f"{source.name} cannot be compiled: {error}") from error
    try:
        done = _run([*command, str(source), "-o", name, *_FLAGS], library.parent)
        if done.returncode:
            lines = done.stderr.decode(errors="replace").splitlines()
            reason = next((line for line in lines if "error:" in line), "no message")
            raise Unavailable(f"{shlex.join(command)} cannot compile {source.name}: {reason[:200]}")
        Path(name).replace(library)
    finally:
        Path(name).unlink(missing_ok=True)
    return library


def _run(words: list[str], cache: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    # zig keeps files of its own while it compiles.
    zig = {"ZIG_GLOBAL_CACHE_DIR": f"{cache}/zig"} if cache else {}
    try:
        return subprocess.run(
            words, capture_output=True, timeout=_LIMIT, check=False, env={**os.environ, **zig}
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"{shlex.join(words)} failed: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
