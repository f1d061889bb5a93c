"""The audit log that a gateway writes, read where its files are.

reading  the lines of a file, or of a folder of files
checks   whether the chain holds, and where it does not
showing  entries and verdicts as text
"""

from tbscreen.audit.checks import Finding, Verdict, check_log
from tbscreen.audit.reading import LogError, Source, find_files, read_lines
from tbscreen.audit.showing import TABLE_HEADER, Wanted, describe, select, to_row

__all__ = [
    "TABLE_HEADER",
    "Finding",
    "LogError",
    "Source",
    "Verdict",
    "Wanted",
    "check_log",
    "describe",
    "find_files",
    "read_lines",
    "select",
    "to_row",
]
