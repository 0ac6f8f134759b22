"""From a version up to its files, and from a file to what must be made again: the same as an independent walk over the JSON."""

import functools
import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest

from tasks.audit.ancestors import Ancestor
from tasks.audit.ancestry import ancestry_of
from tasks.audit.lineage import StageUse, lineage_of_source
from tasks.audit.withdrawal import withdrawal
from tasks.record.approvals import Approval, keep_approval
from tasks.record.errors import ConfigError, TrackingError
from tasks.record.files import file_sha256, read_json, write_json
from tasks.record.layout import RunLayout, StageLayout
from tasks.record.manifest import environment
from tasks.registry import versions as registry
from tasks.registry.records import version_records, write_record
from tests.kit.lineage_homes import LineageHome, lose_some, random_home
from tests.kit.registered_stages import begun_stage, finished_training, new_home, new_version


@pytest.fixture(autouse=True)
def one_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Git is asked for the commit once and not for every manifest of a home."""
    monkeypatch.setattr("tasks.record.manifest.environment", functools.cache(environment))


class Independent:
    """What everything was made from, by digests only, from the JSON files of the home."""

    def __init__(self, home: Path) -> None:
        self.parents: dict[str, set[str]] = {}
        self.files: dict[str, set[str]] = {}
        self.versions: dict[tuple[str, int], str] = {}
        for path in home.rglob("manifest.json"):
            self.add(path)
        for path in (home / "registry" / "intents").glob("*.json"):
            record = json.loads(path.read_text())
            self.versions[record["model"], record["version"]] = record["tags"]["digest"]
            wanted = ("input.base", "input.examples", "input.dataset")
            inputs = {digest for tag, digest in record["tags"].items() if tag in wanted}
            self.parents.setdefault(record["tags"]["digest"], set()).update(inputs)

    def add(self, path: Path) -> None:
        values = json.loads(path.read_text())
        digest = self.digest(values)
        found = path.parent / "request.json"
        if path.parent.parent.name == "milestones":
            found = path.parents[2] / "request.json"
        request = json.loads(found.read_text()) if found.exists() else {"inputs": {}, "identity": {}}
        roles = {"dataset", "examples"} | (set() if request["identity"].get("init") == "random" else {"base"})
        inputs = {role: one["digest"] for role, one in request["inputs"].items() if role in roles}
        self.parents.setdefault(digest, set()).update(inputs.values())
        listed = path.parent / "sources.json"
        if listed.exists():
            files = {file["sha256"] for source in json.loads(listed.read_text()) for file in source["files"]}
            self.files.setdefault(digest, set()).update(files)
        if values["kind"] == "base":
            self.files.setdefault(digest, set()).update(request["identity"]["source"]["files"].values())

    @staticmethod
    def digest(values: dict) -> str:
        kept = {key: value for key, value in values.items() if key not in ("environment", "created_at", "inputs")}
        kept["inputs"] = {role: one["digest"] for role, one in values["inputs"].items()}
        text = json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def everything_above(self, digest: str) -> set[str]:
        found, pending = set(), [digest]
        while pending:
            if (one := pending.pop()) not in found:
                found.add(one)
                pending += self.parents.get(one, ())
        return found

    def files_of(self, digest: str) -> set[str]:
        return set().union(*(self.files.get(one, set()) for one in self.everything_above(digest)))


def ancestors(one: Ancestor) -> list[Ancestor]:
    return [one, *(other for parent in one.made_from for other in ancestors(parent))]


def stages_of(use: StageUse) -> list[StageUse]:
    return [use, *(other for later in use.stages for other in stages_of(later))]


def versions_of(home: Path, digest: str) -> set[tuple[str, int]]:
    found = lineage_of_source(home, digest)
    stages = [stage for data in (*found.datasets, *found.bases) for use in data.stages for stage in stages_of(use)]
    return {(version.model, version.version) for stage in stages for version in stage.versions}


@pytest.mark.parametrize("seed", range(3))
def test_both_ways_are_those_of_an_independent_walk(tmp_path: Path, seed: int) -> None:
    made = random_home(tmp_path / "home", seed)
    states = check_both_ways(made)
    assert states == {"verified"}
    lose_some(made)
    assert check_both_ways(made) == {"verified", "copy"}


def check_both_ways(made: LineageHome) -> set[str]:
    """For every version and every file; returns the states of all links."""
    walk, states = Independent(made.home), set()
    assert len(walk.versions) == 13
    for (model, version), digest in walk.versions.items():
        found = ancestors(ancestry_of(made.home, f"{model}/{version}").made_by)
        assert {one.digest for one in found} == walk.everything_above(digest)
        assert {file.sha256 for one in found for file in one.sources} == walk.files_of(digest)
        states |= {one.stated for one in found}
    for file in made.files:
        sha256 = file_sha256(file)
        expected = {version for version, digest in walk.versions.items() if sha256 in walk.files_of(digest)}
        assert versions_of(made.home, sha256) == expected
        check_withdrawal(made, walk, sha256, expected)
    return states


def check_withdrawal(made: LineageHome, walk: Independent, sha256: str, expected: set[tuple[str, int]]) -> None:
    """The list names the same versions, and nothing stands before what it was made from, but for attempts of one fine-tune."""
    listed = withdrawal(made.home, lineage_of_source(made.home, sha256))
    assert {(one.model, one.version) for redo in listed.redo for one in redo.versions} == expected
    folders = {path.parent: walk.digest(read_json(path)) for path in made.home.rglob("manifest.json")}
    digests = [{folders.get(made.home / folder) for folder in redo.folders} - {None} for redo in listed.redo]
    for number, redo in enumerate(listed.redo):
        if redo.kind != "finetune":
            above = set().union(*(walk.everything_above(one) for one in digests[number])) - digests[number]
            assert not any(above & later for later in digests[number + 1 :])


def test_a_version_says_what_it_is_who_approved_it_and_what_it_was_measured_on(tmp_path: Path) -> None:
    made = random_home(tmp_path / "home", 0)
    found = ancestry_of(made.home, "tuned-1")
    version = found.version
    assert (version.model, version.label, version.aliases) == ("tuned-1", "candidate", ("champion",))
    assert (version.score, version.decision, version.reasons) == ({"accuracy": 0.9}, "promote", ("✓ accuracy 0.9 is enough",))
    assert (version.approved_by, version.promoted_at) == ("anna", "2030-01-31T12:00:00+00:00")
    assert version.in_mlflow == "unknown"
    assert any("mlflow.db is gone, so nobody knows which versions of tuned-1 there are" in note for note in found.notes)
    (measured,) = found.evaluated_on
    assert (measured.sha256, measured.num_items, measured.stated) == ("5" * 64, 20, "verified")
    assert measured.digest in {one.digest for one in made.examples}
    (evaluation,) = (made.home / found.made_by.name).parent.glob("evaluate-*")
    keep_approval(StageLayout(evaluation), Approval(decision="approved", by="berta", reason="looks good"))
    answered = ancestry_of(made.home, f"models:/tuned-1/{version.version}").version
    assert answered.approved_by == "berta" and answered.answer is not None and answered.answer.reason == "looks good"


def test_every_ancestor_says_what_is_known_of_it(tmp_path: Path) -> None:
    made = random_home(tmp_path / "home", 0)
    by_kind = {}
    for model, number in made.versions.items():
        by_kind |= {one.kind: one for one in ancestors(ancestry_of(made.home, f"{model}/{number}").made_by)}
    assert set(by_kind) >= {"finetune", "pretrain", "prepare", "examples"}
    tuned, trained, text, labels = (by_kind[kind] for kind in ("finetune", "pretrain", "prepare", "examples"))
    assert tuned.numbers["step"] == 30 and tuned.recipe["init"] == "base" and "finetune.seed" in tuned.recipe
    assert tuned.libraries["torch"] and tuned.made_at
    assert (trained.verdict, trained.reason) == ("converged", "the next round promises 0.001")
    assert (text.numbers["read_documents"], text.numbers["kept_documents"], text.dropped["too_short"]) == (
        text.dropped["duplicate"] + 23, 20, 3,
    )  # fmt: skip
    assert "the licence is not known here" in text.sources[0].licence and text.sources[0].size_bytes
    assert (labels.numbers["train_examples"], labels.dropped) == (70, {"duplicate": 10})
    base = ancestry_of_base(made)
    assert (base.taken_from, base.licence) == ("organisation/model-0", "apache-2.0")
    assert all(file.sha256 and file.licence == "apache-2.0" for file in base.sources)
    compared = [one for entry in made.datasets if (one := of_dataset(made, entry.path)).compared_with]
    assert compared and compared[0].compared_with[0].stated == "verified"


def ancestry_of_base(made: LineageHome) -> Ancestor:
    from tasks.audit.ancestry import Walk
    from tasks.audit.inventory import Inventory

    return Walk(Inventory(made.home)).ancestor("base", made.models[0])


def of_dataset(made: LineageHome, path: str) -> Ancestor:
    from tasks.audit.ancestry import Walk
    from tasks.audit.inventory import Inventory

    return Walk(Inventory(made.home)).ancestor("dataset", next(one for one in made.datasets if one.path == path))


def test_what_was_changed_or_is_gone_is_said(tmp_path: Path) -> None:
    made = random_home(tmp_path / "home", 0)
    whole = ancestry_of(made.home, "run-0/2")
    (dataset,) = whole.made_by.made_from
    folder = made.home / dataset.name

    (folder / "sources.json").write_text("[]")
    (one,) = ancestry_of(made.home, "run-0/2").made_by.made_from
    assert (one.stated, one.sources) == ("verified", ())
    assert one.said == f"{folder}/sources.json is not what its manifest says; its source files are not shown."

    request = read_json(folder / "request.json")
    write_json(folder / "request.json", request | {"identity": request["identity"] | {"more": 1}})
    (one,) = ancestry_of(made.home, "run-0/2").made_by.made_from
    assert "request.json is not the request that it was made for; recipe and settings are not shown" in one.said

    manifest = read_json(folder / "manifest.json")
    write_json(folder / "manifest.json", manifest | {"step": 1})
    (one,) = ancestry_of(made.home, "run-0/2").made_by.made_from
    said = r"holds another result by now \([0-9a-f]{12}\): what was used is gone"
    assert one.stated == "changed" and re.search(said, one.said)

    shutil.rmtree(folder)
    (one,) = ancestry_of(made.home, "run-0/2").made_by.made_from
    assert (one.stated, one.kind, one.digest) == ("gone", "prepare", dataset.digest)
    assert one.said == f"{folder} is gone: nothing in this home has the digest {dataset.digest[:12]}"


def test_a_folder_that_was_moved_is_found_by_its_digest(tmp_path: Path) -> None:
    made = random_home(tmp_path / "home", 0)
    (dataset,) = ancestry_of(made.home, "run-0/2").made_by.made_from
    old = made.home / dataset.name
    old.rename(old.with_name("elsewhere"))
    (moved,) = ancestry_of(made.home, "run-0/2").made_by.made_from
    assert (moved.stated, moved.name, moved.sources) == ("verified", "datasets/elsewhere", dataset.sources)
    assert moved.said == f"it was {old} when it was used, and lies in {old.with_name('elsewhere')} now"


def test_of_a_removed_run_the_registrys_copy_is_read_and_then_its_record(tmp_path: Path) -> None:
    made = random_home(tmp_path / "home", 0)
    whole = ancestry_of(made.home, "run-1/2")
    shutil.rmtree(RunLayout(made.home, "run-1").path)
    copied = ancestry_of(made.home, "run-1/2").made_by
    assert (copied.stated, copied.verdict, copied.recipe) == ("copy", "converged", {})
    assert copied.said.startswith("what it was asked for is gone with ") and copied.made_from == whole.made_by.made_from
    shutil.rmtree(made.home / "mlflow")
    recorded = ancestry_of(made.home, "run-1/2").made_by
    assert (recorded.stated, recorded.kind) == ("gone", "pretrain")
    assert [one.digest for one in recorded.made_from] == [one.digest for one in whole.made_by.made_from]


def test_a_version_that_was_deleted_in_mlflow_is_said_to_be(tmp_path: Path) -> None:
    home = new_home(tmp_path)
    stage = begun_stage(home)
    first = registry.register(home, new_version(stage, finished_training(stage)))
    assert ancestry_of(home, "demo-base@pretrained").version.in_mlflow == "registered"
    registry.connect(home).delete_model_version(first.name, str(first.version))
    found = ancestry_of(home, "demo-base/1")
    assert (found.version.in_mlflow, found.version.aliases, found.made_by.stated) == ("deleted", (), "verified")
    assert found.made_by.made_from[0].said.endswith(f"nothing in this home has the digest {'d' * 12}")


def test_a_version_that_was_registered_again_is_found_by_its_old_number_and_keeps_its_moves(tmp_path: Path) -> None:
    made = random_home(tmp_path / "home", 0)
    number = made.versions["tuned-1"]
    record = next(one for one in version_records(made.home, "tuned-1") if one.version == number)
    write_record(made.home, record.model_copy(update={"version": 40, "earlier_versions": (number,)}))
    found = ancestry_of(made.home, f"tuned-1/{number}").version
    assert (found.version, found.approved_by, found.moves[-1].to_version) == (40, "anna", number)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ("no such/thing/1", "lineage of 'no such/thing/1': it is no version; write MODEL@ALIAS, MODEL/VERSION, or MODEL"),
        ("other", "lineage of 'other': no model 'other' is registered in this home; there are: run-0, run-1, run-2, tuned-"),
        ("tuned-1@best", r"lineage of 'tuned-1@best': tuned-1 has no alias 'best'; there are: champion \(version \d\)"),
        ("run-0", "lineage of 'run-0': run-0 has no alias 'champion'; there are: none"),
        ("run-0/9", "lineage of 'run-0/9': run-0 has no version 9 of pretune's; there are: 1, 2"),
    ],
)
def test_what_is_no_version_is_refused_with_what_there_is(tmp_path: Path, asked: str, sentence: str) -> None:
    made = random_home(tmp_path / "home", 0)
    with pytest.raises(ConfigError, match=sentence):
        ancestry_of(made.home, asked)


def test_where_the_registry_is_away_nobody_says_that_nothing_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    with pytest.raises(TrackingError, match=r"MLflow at http://127\.0\.0\.1:1 does not answer"):
        ancestry_of(tmp_path, "demo")
