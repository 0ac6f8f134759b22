"""The items of evaluation sets as texts."""

from tasks.config.data import DecontaminationConfig, EvaluationSet
from tasks.data.sources.csv_rows import CsvFormat
from tasks.data.sources.read import read_rows, read_text_files, string_at
from tasks.data.sources.rows import Column, Row
from tasks.data.sources.streams import Meter


def read_evaluations(decontamination: DecontaminationConfig) -> dict[str, list[str]]:
    """The text of every item, by name of its set. Evaluation sets are small: they are held in memory."""
    return {one.name: read_items(one) for one in decontamination.evaluations}


def read_items(evaluation: EvaluationSet) -> list[str]:
    section = f"data.decontamination.evaluations[{evaluation.name}]"
    field = f"{section}.path"
    if evaluation.source == "text":
        return list(read_text_files(evaluation.path, field))
    columns = tuple(Column(column, f"{section}.text_columns") for column in evaluation.text_columns)
    form = CsvFormat(evaluation.delimiter, section=section)
    rows = read_rows(evaluation.source, evaluation.path, columns, field, Meter(), form)
    return [item_text(row, columns) for row in rows]


def item_text(row: Row, columns: tuple[Column, ...]) -> str:
    return "\n".join(string_at(row, column) for column in columns)
