"""benchsuite: recurrence or convolution, measured on your own hardware.

The names below are imported on first use, so that `import benchsuite` needs neither torch nor
pandas.
"""

# Nothing is imported here, not even `__future__`: Ctrl-C in an import would be a traceback.
TYPE_CHECKING = False  # that of `typing`
if TYPE_CHECKING:
    from typing import Any

_EXPORTS = {
    "Case": "benchsuite.grid.case",
    "Study": "benchsuite.grid.study",
    "load_study": "benchsuite.grid.study_file",
    "Record": "benchsuite.records",
    "load_records": "benchsuite.records",
    "Workload": "benchsuite.runtime.workload",
    "prepare": "benchsuite.runtime.workload",
    "measure": "benchsuite.measures.attempt",
    "Recipe": "benchsuite.tasks.recipe",
    "make_task": "benchsuite.tasks.task",
    "train": "benchsuite.learning.trainer",
}
__all__ = list(_EXPORTS)
__version__ = "0.2.0"


def __getattr__(name: str) -> "Any":
    if name in _EXPORTS:
        import importlib

        return getattr(importlib.import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'benchsuite' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
