"""What reaches the terminal, and standard streams that are closed, full or without a reader."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import rich.box
from rich.table import Table

from benchsuite.catalog.models import MODELS
from benchsuite.cli import _console, _terminal, run
from benchsuite.cli._progress import progress
from benchsuite.records import RecordFile

#: Texts that a terminal obeys, beside what is left of them.
HOSTILE = {
    "a\x1b[31mred\x1b[0m": "ared",
    "a\x1b]0;title\x07b": "ab",
    "a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\": "alink",
    "a\x1b]52;c;aGk=": "a",
    "a\x9b31mb": "ab",
    "a\x9d0;t\x9cb": "ab",
    "a\x1bPq#0\x1b\\b": "ab",
    "a\x1bcb": "ab",
    "a\x1b(0b": "ab",
    "a\rb\x08\x00\x7f": "ab",
    "a\u202eb\u2066c": "abc",
    "a\x1b": "a",
    "a\x1b[": "a",
    "a\x1b]0;line one\nline two": "a\nline two",
    "plain\ttext\n, × – σ": "plain\ttext\n, × – σ",
}


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_loses_what_a_terminal_would_obey(text):
    assert _terminal.safe_text(text) == HOSTILE[text]


def test_a_json_document_keeps_its_data():
    values = list(HOSTILE)
    document = _terminal.escaped_json(json.dumps(values, ensure_ascii=False))
    assert json.loads(document) == values
    assert _terminal.safe_text(document) == document


@pytest.mark.parametrize(
    "markup", ["[/x]", "[red]", "[link=http://x]y[/link]", ":warning:", "[1;2]"]
)
def test_markup_in_texts_is_shown_as_it_is(markup, capsys):
    table = Table(title=markup, box=rich.box.SIMPLE)
    table.add_column(markup)
    table.add_row(f"{markup}\x1b[31m")
    console = _console.SafeConsole(width=80)
    console.print(table)
    console.print(f"text {markup}\x1b]0;t\x07")
    out = capsys.readouterr().out
    assert out.count(markup) == 4
    assert "\x1b" not in out


def test_a_failure_on_a_terminal_is_shown_with_any_reason(monkeypatch, capsys, make_record):
    """The reason of a failed case is printed above the progress bar."""
    from benchsuite.sweep.watch import Progress

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    failed = make_record(status="failed", reason="no [/x] of [red]\x1b]0;t\x07 kind")
    with progress() as display:
        run.show_progress(display, Progress(total=2, current="a [/x] b\x1b[2J", failure=failed))
    err = capsys.readouterr().err
    assert "no [/x] of [red] kind" in " ".join(_terminal.safe_text(err).split())
    assert "\x1b]0" not in err
    assert "\x1b[2J" not in err


def test_a_hostile_record_reaches_no_command_s_output(run_command, tmp_path, make_record):
    file = RecordFile(tmp_path / "records.jsonl")
    for t in (8, 16):
        file.append(make_record(seq_len=t, machine="m\x1b]0;x\x07"))
        file.append(make_record(seq_len=t, machine="n[/x]"))
    code, out, err = run_command("report", str(file.path), "-o", str(tmp_path / "out"))
    assert code == 2
    assert "n[/x]" in err
    assert "\x1b" not in out + err


def shell(script):
    script = script.replace("benchsuite", f"{sys.executable} -m benchsuite")
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("words", ["list models", "list models --json", "list models --markdown"])
def test_a_full_device_is_one_line(words):
    done = shell(f"benchsuite {words} > /dev/full")
    assert done.returncode == 1
    assert done.stderr == "error: cannot write to standard output: No space left on device\n"


def test_a_closed_standard_output_is_one_line():
    done = shell("benchsuite list models >&-")
    assert done.returncode == 1
    assert done.stderr == "error: cannot write to standard output: Bad file descriptor\n"


@pytest.mark.parametrize("stderr", ["2>&-", "2>/dev/full", "2>/dev/null"])
def test_without_standard_error_the_exit_code_and_the_output_remain(stderr):
    done = shell(f"benchsuite list models {stderr}")
    assert done.returncode == 0
    assert "lstm_cell" in done.stdout
    assert shell(f"benchsuite list absent {stderr}").returncode == 2


def test_a_reader_that_closed_its_end_needs_no_message():
    done = shell("benchsuite list --json | true; exit ${PIPESTATUS[0]}")
    assert done.returncode in {0, _terminal.EXIT_BROKEN_PIPE}  # 0: written before the reader left
    assert done.stderr == ""


def test_a_terminal_that_is_not_unicode_gets_escapes():
    done = shell("PYTHONIOENCODING=ascii benchsuite list models")
    assert done.returncode == 0
    assert "\\xd7" not in done.stderr
    done = shell("PYTHONIOENCODING=ascii benchsuite list models --json")
    assert "lstm" in {row["name"] for row in json.loads(done.stdout)}


LEAVES = ("sys.exit(0)", "sys.exit()", "sys.exit('bye')", "raise BaseException('odd')")


@pytest.mark.parametrize("statement", LEAVES)
@pytest.mark.parametrize(
    "words", [["check"], ["field"], ["train", "delay"], ["trace"]], ids=lambda words: words[0]
)
def test_a_module_that_ends_the_program_is_one_line(
    words, statement, run_command, tmp_path, monkeypatch
):
    name = f"leaving_{LEAVES.index(statement)}_{words[0]}"
    (tmp_path / f"{name}.py").write_text(f"import sys\n{statement}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    code, out, err = run_command(*words, f"{name}:make")
    assert code == 2
    assert out == ""
    assert f"cannot import '{name}' of '{name}:make': " in err
    assert statement.removeprefix("raise ").split("(")[0] in err
    assert "Traceback" not in err


def test_a_package_that_ends_the_program_is_one_line(run_command, tmp_path, monkeypatch):
    (tmp_path / "leavingpack").mkdir()
    (tmp_path / "leavingpack" / "__init__.py").write_text("import sys\nsys.exit(0)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    code, out, err = run_command("run", "-a", "model=leavingpack.model:make")
    assert (code, out) == (2, "")
    assert "SystemExit" in err
    assert err.count("\n") == 1


def test_a_model_that_ends_the_program_later_is_a_failure(run_command, tmp_path, monkeypatch):
    """In a command that runs models in this process."""
    (tmp_path / "leaves_later.py").write_text("import sys\ndef make(): sys.exit(0)\n")
    monkeypatch.syspath_prepend(tmp_path)
    code, out, err = run_command("check", "leaves_later:make")
    assert code == 1
    assert "has called sys.exit(0)" in err


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a package that has this file of entry points."""

    def install(entries):
        about = tmp_path / "odd-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
        (about / "entry_points.txt").write_bytes(entries)
        monkeypatch.syspath_prepend(tmp_path)

    yield install
    monkeypatch.undo()
    list(MODELS)  # forgets the problems


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (b"[benchsuite.models]\nno equals sign\n", "cannot be read"),
        (b"[benchsuite.models]\n\xff\xfe = a:b\n", "cannot be read"),
        (b"[benchsuite.models]\nmine = not a target\n", "'mine = not a target' of odd is skipped"),
        (b"[benchsuite.models]\nmine = a:b [extra]\n", "is skipped"),
        (b"[benchsuite.models]\n../mine = a:b\n", "is skipped"),
        (b"[benchsuite.models]\nm\x1b[31m = a:b\n", "is skipped"),
        (b"[other]\nno equals sign\n", "cannot be read"),
    ],
)
def test_malformed_entry_points_are_skipped_with_a_note(entries, words, installed, run_command):
    installed(entries)
    code, out, err = run_command("list", "models", "--json")
    assert code == 0
    assert "lstm" in {row["name"] for row in json.loads(out)}
    assert err.startswith("note: entry point")
    assert words in err
    assert err.count("\n") == 1
    assert "\x1b" not in err


def test_a_good_entry_point_needs_no_note(installed, run_command):
    installed(b"[benchsuite.models]\nmine = package.module:make\n")
    code, out, err = run_command("list", "models", "--json")
    assert (code, err) == (0, "")
    assert "mine" in {row["name"] for row in json.loads(out)}
