"""Write the generated parts of the docs: ``python scripts/docs_tables.py``. A test holds them to the code."""

from __future__ import annotations

from pathlib import Path

from airflow_batch_provider.core.connection_fields import FIELDS

CONNECTION = Path(__file__).resolve().parent.parent / "docs" / "connection.md"
BEGIN, END = "<!-- fields: begin, made by scripts/docs_tables.py -->", "<!-- fields: end -->"


def fields_table() -> str:
    """Return the table of connection fields."""
    rows = ["| extra | label | what it is | header |", "| --- | --- | --- | --- |"]
    for field in FIELDS:
        hidden = " (hidden)" if field.secret else ""
        header = f"`{field.header}`" if field.header else ""
        rows.append(f"| `{field.name}`{hidden} | {field.label} | {field.help} | {header} |")
    return "\n".join(rows)


def with_table(text: str) -> str:
    """
    Put the table into a page.

    :param text: The page.
    """
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{fields_table()}\n{END}{after}"


if __name__ == "__main__":
    CONNECTION.write_text(with_table(CONNECTION.read_text()))
