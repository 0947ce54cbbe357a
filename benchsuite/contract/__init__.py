"""The requirements on a model, checked by running it.

    for finding in check_model("package.module:factory"):
        print(finding.check, finding.status, finding.observed, finding.fix)

A model that breaks a clause may still work in a part of the suite: `observed` describes what the
check saw, `fix` how to adapt the model. Everything runs on the CPU, in float64 if the model can.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchsuite.contract.clauses import CLAUSES, NEEDED_BY_ALL, NEEDS, Broken, Clause, Noted
from benchsuite.contract.specimen import Specimen, sizes_for
from benchsuite.errors import described
from benchsuite.runtime.build import Sizes

__all__ = ["Finding", "check_model", "sizes_for"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        check: Its name.
        status: "pass"; "note" for what is allowed but excludes something; "fail"; or "skipped",
            if it requires a check that failed.
        observed: What the check saw, in words.
        fix: How to adapt the model; empty if nothing has to be done.
    """

    check: str
    status: Literal["pass", "note", "fail", "skipped"]
    observed: str
    fix: str = ""


def check_model(model: str, sizes: Sizes | None = None) -> list[Finding]:
    """All findings on a model, in the order of `CLAUSES`.

    Args:
        model: A name, or `package.module:factory`.
        sizes: What the factory is called with; `sizes_for(model)` if left out.

    Raises:
        UsageError: if the model is unknown, or cannot be built at those sizes.
    """
    specimen = Specimen(model, sizes or sizes_for(model))
    findings: list[Finding] = []
    broken: list[Clause] = []
    for clause in CLAUSES:
        name = clause.__name__
        lacking = [c for c in broken if c in (*NEEDED_BY_ALL, *NEEDS.get(clause, ()))]
        if lacking:
            reason = f"not checked: requires {lacking[0].__name__} to pass"
            findings.append(Finding(name, "skipped", reason))
            continue
        findings.append(_finding(name, clause, specimen))
        if findings[-1].status == "fail":
            broken.append(clause)
    return findings


def _finding(name: str, clause: Clause, specimen: Specimen) -> Finding:
    try:
        return Finding(name, "pass", clause(specimen))
    except Broken as found:
        return Finding(name, "note" if isinstance(found, Noted) else "fail", *found.args)
    except Exception as error:  # a model from outside may fail in any way
        return Finding(name, "fail", described(error))
