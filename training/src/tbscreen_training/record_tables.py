"""Nested records, such as input-check.json, as tables for a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RecordTable:
    """A table: its title, its columns, and rows that begin with a name."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def tables_of(record: Mapping[str, Any]) -> list[RecordTable]:
    """Lays a record of plain values, intervals, records and records of records out as tables.

    Plain values come first, then records of plain values as the rows of one table, then a table for
    each record (or list) of records.
    """
    plain = [(_text(name), value) for name, value in record.items() if _is_plain(value)]
    lines = {name: value for name, value in record.items() if _is_line(value)}
    tables = [RecordTable("", ("", ""), tuple(plain))] if plain else []
    if lines:
        tables.append(_lay_out("", lines))
    for name, value in record.items():
        if isinstance(value, Mapping) and value and not _is_plain(value) and not _is_line(value):
            tables.append(_lay_out(_text(name), value))
        elif isinstance(value, Sequence) and not isinstance(value, str) and value:
            tables.append(_lay_out(_text(name), dict(enumerate(value, start=1))))
    return tables


def _lay_out(title: str, lines: Mapping[Any, Any]) -> RecordTable:
    cells = {
        name: line if isinstance(line, Mapping) else {"value": line} for name, line in lines.items()
    }
    columns = tuple(dict.fromkeys(column for line in cells.values() for column in line))
    rows = tuple(
        (_text(name), *(line.get(column) for column in columns)) for name, line in cells.items()
    )
    return RecordTable(title, ("", *map(_text, columns)), rows)


def _is_plain(value: Any) -> bool:
    is_interval = isinstance(value, Mapping) and "low" in value
    return is_interval or value is None or isinstance(value, str | int | float)


def _is_line(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and not _is_plain(value)
        and all(map(_is_plain, value.values()))
    )


def _text(name: Any) -> str:
    return str(name).replace("_", " ")
