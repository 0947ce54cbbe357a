"""The table of docs/faults.md: every command in it names tests or scripts that exist."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def commands():
    text = (ROOT / "docs/faults.md").read_text(encoding="utf-8")
    rows = text.partition("| tried | survived | command |")[2].splitlines()[2:]
    return [row.split(" | ")[2].strip("` |") for row in rows]


def functions(file):
    """Test functions of a file, and whether they are marked `faults`."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    whole = any(
        isinstance(node, ast.Assign) and "pytestmark" in ast.unparse(node) for node in tree.body
    )
    return {
        node.name: whole or any("mark.faults" in ast.unparse(d) for d in node.decorator_list)
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


@pytest.mark.parametrize("command", commands())
def test_the_command_names_what_exists(command):
    program, *words = shlex.split(command)
    files = [ROOT / word for word in words if word.endswith(".py")]
    assert files
    assert all(file.is_file() for file in files)
    if program == "python":
        return
    assert program == "pytest"
    wanted = re.split(" or ", words[words.index("-k") + 1])
    marked = "faults" in words
    for word in wanted:
        names = {name: mark for file in files for name, mark in functions(file).items()}
        found = [mark for name, mark in names.items() if word in name]
        assert found, f"no test of {files} has {word!r} in its name"
        assert all(mark == marked for mark in found)


def test_every_test_of_a_fault_is_in_the_table():
    listed = " ".join(commands())
    for file in ("test_killed.py", "test_storage.py"):
        for name in functions(Path(__file__).with_name(file)):
            found = re.findall(rf"{file} -k (\w+)", listed)
            assert any(word in name for word in found), f"{name} of {file} is not in docs/faults.md"
