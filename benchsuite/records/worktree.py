"""State of a git working tree: its commit, and a digest of everything that differs from it.

The digest covers the difference to the commit (`git diff HEAD`), the content of untracked Python
files that git does not ignore, changed files that git was asked not to look at (`skip-worktree`,
`assume-unchanged`), and the same of every checked-out submodule. Ignored files and untracked files
of other types are not part of it; `provenance.source` digests those that a model uses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchsuite.host import GitError, run_git

#: Options that keep a user's configuration from changing or shortening the difference.
_DIFF = ("diff", "--binary", "--no-color", "--no-ext-diff", "--no-textconv", "HEAD")
#: Mode of a submodule in git's index.
_SUBMODULE = "160000"


@dataclass(frozen=True, slots=True)
class WorkTree:
    """The state of a working tree, as git reports it.

    Attributes:
        commit: The commit that is checked out; empty outside a repository and before a commit.
        changes: Digest of the uncommitted changes; empty if there are none.
        problem: Why the changes, or even the commit, could not be determined; else empty.
    """

    commit: str = ""
    changes: str = ""
    problem: str = ""


def inspect(directory: Path) -> WorkTree:
    """The state of the working tree around a directory."""
    commit = ""
    try:
        top = run_git(directory, "rev-parse", "--show-toplevel").removesuffix(b"\n")
        root = Path(top.decode(errors="surrogateescape"))
        try:
            commit = run_git(root, "rev-parse", "--verify", "HEAD").decode().strip()
        except GitError as error:
            return WorkTree() if error.finished else WorkTree(problem=str(error))
        digest = hashlib.sha256()
        changed = False
        for part in _changes(root):
            changed = True
            digest.update(part)
    except GitError as error:
        return WorkTree() if error.no_repository else WorkTree(commit, problem=str(error))
    except OSError as error:
        return WorkTree(commit, problem=f"cannot read {error.filename}: {error.strerror}")
    return WorkTree(commit, digest.hexdigest()[:12] if changed else "")


def _changes(root: Path) -> Iterator[bytes]:
    """Everything that differs from the commit; nothing if the tree is clean."""
    if difference := run_git(root, *_DIFF):
        yield difference
    others = ("ls-files", "--others", "--exclude-standard", "-z", "--", "*.py")
    for path in _paths(root, run_git(root, *others)):
        if path.is_file():
            yield b"untracked " + _content(path)
    yield from _hidden_changes(root)
    for path in _submodules(root):
        yield from (b"in " + bytes(path.relative_to(root)) + b" " + c for c in _changes(path))


def _hidden_changes(root: Path) -> Iterator[bytes]:
    """Changed files that carry one of the two flags by which git ignores changes."""
    for entry in run_git(root, "ls-files", "-v", "-z").split(b"\0"):
        tag, _, name = entry.partition(b" ")
        if not (tag == b"S" or tag.islower()):
            continue
        path = root / name.decode(errors="surrogateescape")
        if not path.is_file():  # outside a sparse checkout
            continue
        word = str(path.relative_to(root))
        stored = run_git(root, "rev-parse", "--verify", f":{word}").strip()
        if run_git(root, "hash-object", "--", word).strip() != stored:
            yield b"hidden " + _content(path)


def _submodules(root: Path) -> Iterator[Path]:
    """The submodules that are checked out."""
    for entry in run_git(root, "ls-files", "--stage", "-z").split(b"\0"):
        if entry.startswith(_SUBMODULE.encode()):
            path = root / entry.partition(b"\t")[2].decode(errors="surrogateescape")
            if (path / ".git").exists():
                yield path


def _paths(root: Path, listed: bytes) -> Iterator[Path]:
    for name in listed.split(b"\0"):
        if name:
            yield root / name.decode(errors="surrogateescape")


def _content(path: Path) -> bytes:
    return bytes(path) + b"\0" + hashlib.sha256(path.read_bytes()).digest()
