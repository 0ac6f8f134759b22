"""What a configuration's pre-training text is made of, by content: its sources, evaluation sets and earlier data sets."""

from pathlib import Path
from typing import Any

from tasks.config.data import DataConfig, QualityConfig
from tasks.data.inputs.files import input_files
from tasks.data.inputs.sources import data_identity, inputs_identity
from tasks.record.errors import DataError
from tasks.record.layout import StageLayout, datasets_folder
from tasks.record.manifest import Input, Manifest


def text_identity(home: Path, data: DataConfig) -> dict[str, Any]:
    """Content digests of every source and evaluation set; raises DataError if one is missing or empty.

    What only the data's own rules can tell about the settings is checked here too, before anything is read.
    """
    check_quality(data.quality)
    evaluations = []
    for one in data.decontamination.evaluations:
        field = f"data.decontamination.evaluations[{one.name}].path"
        evaluations.append(inputs_identity(home, input_files(one.source, one.path, field)))
    fields = ["data.path", *(f"data.mixture[{source.name}].path" for source in data.mixture)]
    sources = [data_identity(home, source, field) for source, field in zip(data.sources, fields, strict=True)]
    return {"sources": sources, "evaluations": evaluations}


def check_quality(quality: QualityConfig) -> None:
    """Raises DataError for thresholds that do not exist and languages that cannot be identified."""
    from tasks.data.quality.rules import chosen_thresholds

    chosen_thresholds(quality.filters, quality.thresholds)
    if quality.languages:
        from tasks.data.quality.languages import known_languages

        known = known_languages()
        if unknown := next((code for code in quality.languages if code not in known), None):
            raise DataError(
                f"data.quality.languages has {unknown!r}, which cannot be identified; there are {', '.join(sorted(known))}"
            )


def earlier_datasets(home: Path, data: DataConfig) -> dict[str, Input]:
    """The finished data sets whose documents are not taken again; raises DataError for one that is not there."""
    found: dict[str, Input] = {}
    for number, given in enumerate(data.duplicates.against):
        folders = [Path(given).expanduser(), datasets_folder(home) / given]
        stage = next((one for f in folders if (one := StageLayout(f.resolve())).manifest.is_file()), None)
        if stage is None or (manifest := Manifest.read(stage.manifest)).kind != "prepare":
            raise DataError(
                f"data.duplicates.against={given!r} is no finished data set, as a folder or below {datasets_folder(home)}; "
                "name the folder of one"
            )
        found[f"against-{number:02d}"] = manifest.as_input(stage.path)
    return found
