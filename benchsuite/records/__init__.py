"""Records: one row per case × measure, appended to disk as soon as the result is known.

A record file is in the format JSON Lines. Each attempt writes a row with status `started` before
anything is built, and a second row with the same `uid` when it ends. A process that is killed
leaves only the first row, which `load_records` reports as `crashed`. Rows are never rewritten.

`SCHEMA` is the table of all columns with their types and units.
"""

from benchsuite.records.arrow import write_tables
from benchsuite.records.frame import load_records, to_frame
from benchsuite.records.outcomes import settle
from benchsuite.records.record import Key, Record, RecordFile
from benchsuite.records.rows import FILE_NAME, read_rows, record_files
from benchsuite.records.schema import (
    CRASHED,
    FINAL,
    INTERRUPTED,
    SCHEMA,
    SCHEMA_VERSION,
    Column,
    Status,
)

__all__ = [
    "CRASHED",
    "FILE_NAME",
    "FINAL",
    "INTERRUPTED",
    "SCHEMA",
    "SCHEMA_VERSION",
    "Column",
    "Key",
    "Record",
    "RecordFile",
    "Status",
    "load_records",
    "read_rows",
    "record_files",
    "settle",
    "to_frame",
    "write_tables",
]
