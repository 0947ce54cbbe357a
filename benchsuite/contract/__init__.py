"""What a model has to keep to, found out by running it.

    for finding in check_model("package.module:factory"):
        print(finding.check, finding.status, finding.told, finding.mend)

A model that breaks a clause may still do in a part of the suite: `told` says what was seen, `mend`
how to adapt. Everything runs on the CPU, in float64 where the model can.
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
    """What one check found.

    Attributes:
        check: Its name.
        status: "pass"; "note" for what is allowed but excludes something; "fail"; or "skipped",
            where it would mean nothing.
        told: What was seen, in words.
        mend: How to adapt the model, where anything is to be done.
    """

    check: str
    status: Literal["pass", "note", "fail", "skipped"]
    told: str
    mend: str = ""


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
            told = f"means nothing before {lacking[0].__name__} passes"
            findings.append(Finding(name, "skipped", told))
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
