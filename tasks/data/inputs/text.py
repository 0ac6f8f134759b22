"""What a configuration's pre-training text is made of, by content: its sources, evaluation sets and earlier data sets."""

from pathlib import Path
from typing import Any

from tasks.config.data import DataConfig, QualityConfig, TextSource
from tasks.data.inputs.files import find_input, input_files
from tasks.data.inputs.folders import by_reason, passed_over_sentence
from tasks.data.inputs.sources import data_identity, inputs_identity
from tasks.record.errors import DataError
from tasks.record.layout import StageLayout, datasets_folder
from tasks.record.manifest import Input, Manifest


def text_identity(home: Path, data: DataConfig) -> dict[str, Any]:
    """Content digests of every source and evaluation set; raises DataError if one is missing.

    What only the data's own rules can tell about the settings is checked here too, before anything is read. Files with nothing
    in them are among those of a source: whether they may be, `tasks.data.input_check` says.
    """
    check_quality(data.quality)
    evaluations = []
    for one in data.decontamination.evaluations:
        field = f"data.decontamination.evaluations[{one.name}].path"
        evaluations.append(inputs_identity(home, input_files(one.source, one.path, field)))
    sources = [data_identity(home, source, field, empty=True) for field, source in source_fields(data)]
    return {"sources": sources, "evaluations": evaluations}


def source_fields(data: DataConfig) -> list[tuple[str, TextSource]]:
    """Each source with the setting that says where it lies."""
    fields = ["data.path", *(f"data.mixture[{source.name}].path" for source in data.mixture)]
    return list(zip(fields, data.sources, strict=True))


def passed_over_sentences(data: DataConfig) -> list[str]:
    """What lies beside the files that are read, a sentence for each reason."""
    found = []
    for field, source in source_fields(data):
        if source.source not in ("sample", "huggingface"):
            entries = by_reason(find_input(source.source, source.path or "", field, empty=True).passed_over)
            found += [passed_over_sentence(f"{field}={source.path!r}", entry) for entry in entries]
    return found


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
