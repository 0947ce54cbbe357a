"""The state of the working tree: what changes the digest, and what git cannot determine."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchsuite import host
from benchsuite.records import provenance, worktree
from benchsuite.sweep import guards


def git(root, *words):
    user = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "protocol.file.allow=always")
    done = subprocess.run(["git", "-C", str(root), *user, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def repository(tmp_path):
    return make_repository(tmp_path / "repository")


def make_repository(root):
    root.mkdir()
    git(root, "init", "-q")
    (root / "model.py").write_text("WIDTH = 1\n")
    (root / ".gitignore").write_text("ignored*\n")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    return root


def changes(root):
    state = worktree.inspect(root)
    assert not state.problem
    return state.changes


def test_a_clean_tree_has_a_commit_and_no_changes(repository):
    state = worktree.inspect(repository)
    assert state == worktree.WorkTree(git(repository, "rev-parse", "HEAD").strip())


def test_every_edit_of_code_has_its_digest(repository):
    digests = {changes(repository)}
    for number, name in enumerate(["model.py", "model.py", "new.py", "new.py"]):
        (repository / name).write_text(f"WIDTH = {number + 2}\n")
        digests.add(changes(repository))
    assert len(digests) == 5


@pytest.mark.parametrize("flag", ["--skip-worktree", "--assume-unchanged"])
def test_a_file_that_git_does_not_look_at_is_compared(repository, flag):
    git(repository, "update-index", flag, "model.py")
    assert changes(repository) == ""
    (repository / "model.py").write_text("WIDTH = 2\n")
    assert git(repository, "status", "--porcelain") == ""
    first = changes(repository)
    (repository / "model.py").write_text("WIDTH = 3\n")
    assert len({"", first, changes(repository)}) == 3


def test_edits_inside_a_submodule_are_distinguished(repository, tmp_path):
    make_repository(tmp_path / "other")
    git(repository, "submodule", "add", "-q", str(tmp_path / "other"), "sub")
    git(repository, "commit", "-qm", "with a submodule")
    digests = {changes(repository)}
    for name, text in [("model.py", "2"), ("model.py", "3"), ("new.py", "4")]:
        (repository / "sub" / name).write_text(f"WIDTH = {text}\n")
        digests.add(changes(repository))
    assert len(digests) == 4


def test_a_configured_diff_program_is_not_used(repository):
    git(repository, "config", "diff.external", "true")
    (repository / "model.py").write_text("WIDTH = 2\n")
    assert changes(repository)


@pytest.fixture
def in_repository(repository, monkeypatch):
    monkeypatch.chdir(repository)
    forget()
    yield repository
    forget()


def forget():
    provenance.checkout.cache_clear()
    provenance._work_tree.cache_clear()


def test_a_required_filter_that_is_missing_makes_the_state_unknown(in_repository):
    (in_repository / ".gitattributes").write_text("*.py filter=absent\n")
    git(in_repository, "add", ".gitattributes")
    git(in_repository, "commit", "-qm", "attributes")
    git(in_repository, "config", "filter.absent.clean", "absent-program")
    git(in_repository, "config", "filter.absent.required", "true")
    (in_repository / "model.py").write_text("WIDTH = 2\n")
    check_unknown("git diff failed: error: cannot run absent-program")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("exec sleep 60", "git diff took longer than 0.3 s"),
        ("kill -9 $$", "git diff was killed by signal 9"),
        ("exit 1", "git diff failed: no message"),
    ],
)
def test_a_diff_that_does_not_end_well_makes_the_state_unknown(
    in_repository, tmp_path, monkeypatch, body, reason
):
    real = subprocess.run(["which", "git"], capture_output=True, text=True).stdout.strip()
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nif [ "$3" = diff ]; then {body}; fi\nexec {real} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    if "longer" in reason:
        monkeypatch.setattr(host, "GIT_SECONDS", 0.3)
    check_unknown(reason)


def check_unknown(reason):
    """The commit is known, the state is a random one, and a note gives the reason."""
    first = dict(provenance.checkout())
    assert first["commit"]
    assert first["tree"].startswith("unknown-")
    assert "dirty" not in first
    assert reason in provenance.checkout_problem()
    assert reason in guards.notes_on_checkout()[0]
    forget()
    assert provenance.checkout()["tree"] != first["tree"]


def test_a_repository_of_another_owner_is_not_called_absent(in_repository, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    assert "dubious ownership" in provenance.checkout_problem()
    assert provenance.checkout()["tree"].startswith("unknown-")
    assert "dubious ownership" in guards.notes_on_checkout()[0]


def test_outside_a_repository_nothing_is_known_and_nothing_is_wrong(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    forget()
    assert (provenance.checkout(), provenance.checkout_problem()) == ({}, "")
    forget()


def test_the_processes_of_a_run_take_the_state_that_the_run_has_determined(monkeypatch):
    monkeypatch.setenv(provenance.STATE, '{"commit": "abc", "tree": "unknown-1"}')
    provenance.checkout.cache_clear()
    assert provenance.checkout() == {"commit": "abc", "tree": "unknown-1"}
    provenance.checkout.cache_clear()


@pytest.mark.parametrize(
    "name", ["../../x", "/x", "a/b", ".", "..", ".x", "-x", "a\nb", "a\udcff", "x" * 101, "a\x1b[m"]
)
def test_a_machine_name_that_is_not_a_directory_name_is_refused(name, run_command, monkeypatch):
    monkeypatch.setattr(host.os, "environ", {**host.os.environ, host.MACHINE_NAME: name})
    code, out, err = run_command("run", "--home", str(Path("absent")))
    assert (code, out) == (2, "")
    assert "is not allowed as the name of a machine" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", ["vm", "my machine", "a.b-c_d+1", "Rechnör"])
def test_ordinary_machine_names_are_kept(name, monkeypatch):
    monkeypatch.setenv(host.MACHINE_NAME, name)
    assert host.machine_name() == name
