"""The parts of a preparation read off its folder: which are done, which are left, and how far the whole is."""

from pathlib import Path
from typing import Any

import pytest

from tasks.config.data import PreparationConfig
from tasks.record.files import write_json
from tasks.record.layout import StageLayout
from tasks.record.manifest import Request
from tasks.record.parts import (
    MAPPED,
    RESULT_FILE,
    SHARES,
    STEPS,
    DocumentFile,
    Part,
    WorkLayout,
    clear_leftovers,
    fraction_before,
    part_progress,
)
from tasks.stages.work import in_one_part


@pytest.fixture
def stage(tmp_path: Path) -> StageLayout:
    return StageLayout(tmp_path / "data")


def done(stage: StageLayout, step: str, index: int = 0, **result: Any) -> None:
    work = WorkLayout(stage)
    write_json(work.folder(Part(step, index)) / RESULT_FILE, result)


def planned(stage: StageLayout) -> None:
    """Three parts, the first of which is an earlier data set."""
    done(stage, "plan", parts=[[{"source": -1}], [{"source": 0}], [{"source": 1}]])


def extracted(stage: StageLayout, index: int, source: int, files: int) -> None:
    entries = [{"name": f"{n:05d}.arrow", "source": source, "documents": n + 1, "bytes": 10 * n} for n in range(files)]
    done(stage, "extract", index, files=entries)


def test_shares_are_a_whole_and_steps_follow_each_other() -> None:
    assert tuple(SHARES) == STEPS
    assert 0.9 < sum(SHARES.values()) < 1.0, "some time is left for the end"
    assert set(MAPPED) <= set(STEPS)
    assert fraction_before("plan") == 0
    assert fraction_before("encode") == pytest.approx(sum(SHARES.values()) - SHARES["encode"])


def test_places_and_names(stage: StageLayout) -> None:
    work, part = WorkLayout(stage), Part("extract", 7)
    assert part.name == "extract-00007"
    assert work.folder(part) == stage.path / "work" / "extract" / "00007"
    assert work.error(part) == stage.path / "work" / "errors" / "extract-00007.json"
    assert work.progress(part).parent == stage.path / "work" / "progress"
    file = DocumentFile(Path("x/00001.arrow"), -1, 3, 99)
    assert file.reference
    assert (file.keys, file.paragraphs) == (Path("x/00001.keys.npy"), Path("x/00001.paragraphs.npy"))


def test_the_plan_says_how_many_parts_there_are(stage: StageLayout) -> None:
    assert WorkLayout(stage).pending("plan") == [Part("plan", 0)]
    planned(stage)
    assert WorkLayout(stage).pending("plan") == []
    assert [part.index for part in WorkLayout(stage).pending("extract")] == [0, 1, 2]
    extracted(stage, 1, 0, 1)
    assert [part.index for part in WorkLayout(stage).pending("extract")] == [0, 2]


def test_documents_of_earlier_data_sets_are_not_encoded(stage: StageLayout) -> None:
    planned(stage)
    for index, files in enumerate((1, 2, 0)):
        extracted(stage, index, index - 1, files)
    work = WorkLayout(stage)
    assert [(file.source, file.documents, file.bytes) for file in work.document_files] == [(-1, 1, 0), (0, 1, 0), (0, 2, 10)]
    assert [file.path.parent.name for file in work.encoded_files] == ["00001", "00001"]
    assert work.parts("encode") == [Part("encode", 0), Part("encode", 1)]
    assert work.parts("deduplicate") == [Part("deduplicate", 0)]


def test_the_fraction_counts_whole_parts_and_what_running_ones_say(stage: StageLayout) -> None:
    planned(stage)
    work = WorkLayout(stage)
    seen = [work.fraction("extract")]
    assert seen[0] == pytest.approx(SHARES["plan"])
    path = work.progress(Part("extract", 0))
    path.parent.mkdir()
    for said in ("0.2500", "0.7500"):
        path.write_text(said)
        seen.append(work.fraction("extract"))
        assert seen[-1] == pytest.approx(SHARES["plan"] + SHARES["extract"] * float(said) / 3)
    extracted(stage, 0, -1, 1)
    seen.append(work.fraction("extract"))
    for index in (1, 2):
        extracted(stage, index, index - 1, 1)
        seen.append(work.fraction("extract"))
    assert seen[-1] == pytest.approx(fraction_before("deduplicate"))
    seen.append(work.fraction("deduplicate"))
    assert seen == sorted(seen)


def test_progress_that_is_not_there_or_half_written_is_none(tmp_path: Path) -> None:
    assert part_progress(tmp_path / "nothing") == 0.0
    (tmp_path / "empty").write_text("")
    assert part_progress(tmp_path / "empty") == 0.0


def test_leftovers_of_killed_processes_go_and_finished_parts_stay(stage: StageLayout) -> None:
    planned(stage)
    extracted(stage, 0, -1, 1)
    work = WorkLayout(stage)
    (work.path / "extract" / ".00001.host-77").mkdir()
    (work.path / "extract" / ".00001.host-77" / "00000.arrow").write_text("half")
    (work.path / "plan" / ".result.json.abc").write_text("half")
    write_json(work.error(Part("extract", 1)), {"error": "DataError", "message": "m"})
    work.progress(Part("extract", 1)).parent.mkdir()
    work.progress(Part("extract", 1)).write_text("0.5")
    clear_leftovers(work)
    left = {path.relative_to(work.path).as_posix() for path in work.path.rglob("*") if path.is_file()}
    assert left == {"plan/00000/result.json", "extract/00000/result.json"}
    clear_leftovers(WorkLayout(StageLayout(stage.path / "never begun")))


@pytest.mark.parametrize(
    ("sources", "preparation", "expected"),
    [
        ([{"bytes": 1 << 20}], {}, True),
        ([{"bytes": 1 << 20}, {"bytes": 1}], {}, False),
        ([{"bytes": 1 << 30}], {"num_processes": 1}, True),
        ([{"bytes": 1 << 30}], {"num_processes": 2}, False),
        ([{"sample": "the sample"}], {}, True),
        ([{"sample": "the sample"}, {"bytes": 1 << 20}], {"num_processes": 2}, True),
        ([{"name": "of the hub", "revision": "abc"}], {}, False),
        ([{"name": "of the hub", "revision": "abc"}], {"num_processes": 1}, True),
        ([{"bytes": 1}], {"ray_address": "ray://host:10001"}, False),
    ],
)
def test_what_is_small_is_done_by_one_process(sources: list[dict], preparation: dict, expected: bool) -> None:
    request = Request(kind="prepare", identity={"source": {"sources": sources}, "data": {"part_megabytes": 1}})
    assert in_one_part(request, PreparationConfig(**preparation)) is expected
