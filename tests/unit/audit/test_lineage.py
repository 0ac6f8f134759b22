"""From a file or a document to the aliases: what contains it is found, and nothing else is."""

import hashlib
import shutil

import pytest

from tasks.audit.inventory import holders_of_record
from tasks.audit.lineage import (
    MEASURED,
    STARTED,
    TRAINED,
    lineage_of_dataset,
    lineage_of_document,
    lineage_of_source,
)
from tasks.record.errors import ConfigError, DataError
from tasks.record.files import file_sha256
from tasks.record.layout import RunLayout, dataset_stage
from tasks.record.manifest import Input, Manifest, Request
from tasks.registry import versions as registry
from tests.kit.datasets import finetuning, pretraining, written, written_dataset, written_examples
from tests.kit.registered_stages import finished_training, new_home, new_version

CAT, DOG, OWL, PAGE = "The cat sat.", "A dog ran.\n\nFar away.", "An owl, held out.", "A page with a label."


@pytest.fixture
def files(tmp_path):
    """Two files that data sets are made from, and one that none is made from."""
    found = {name: tmp_path / f"{name}.txt" for name in ("animals", "pages", "other")}
    for name, path in found.items():
        path.write_text(f"the file {name}")
    return found


@pytest.fixture
def dataset(home, files):
    return written_dataset(home, "animals", [CAT, DOG, "third"], [OWL], {"zoo": files["animals"]})


def only(uses):
    assert len(uses) == 1
    return uses[0]


def text_file(tmp_path, text):
    path = tmp_path / "document"
    path.write_bytes(text.encode())
    return str(path)


def test_a_file_is_found_by_path_and_by_digest(home, files, dataset):
    found = lineage_of_source(home, str(files["animals"]))
    use = only(found.datasets)
    assert (use.digest, use.splits, use.places) == (dataset.digest, ("train", "heldout"), ("zoo: animals.txt",))
    by_digest = lineage_of_source(home, file_sha256(files["animals"]).upper())
    assert by_digest.datasets == found.datasets
    other = lineage_of_source(home, str(files["other"]))
    assert (other.datasets, other.num_datasets, other.digest) == ((), 1, file_sha256(files["other"]))


def test_a_source_of_which_nothing_was_kept_does_not_count(home, files, dataset):
    path = home / "datasets" / dataset.path.rpartition("/")[2] / "manifest.json"
    path.write_text(path.read_text().replace('"documents": 1', '"documents": 0'))
    assert lineage_of_source(home, str(files["animals"])).datasets == ()


@pytest.mark.parametrize(
    ("text", "split", "place"),
    [
        (CAT, "train", "train-00000.bin document 0"),
        ("\ufeffA dog ran.   \r\n\r\nFar away.\n", "train", "train-00000.bin document 1"),
        ("third", "train", "train-00001.bin document 0"),
        (OWL, "heldout", "heldout-00000.bin document 0"),
    ],
)
def test_a_document_is_found_by_its_cleaned_text(home, dataset, tmp_path, text, split, place):
    use = only(lineage_of_document(home, text_file(tmp_path, text)).datasets)
    assert (use.digest, use.splits, use.places) == (dataset.digest, (split,), (place,))


def test_a_document_is_found_by_digest_and_missing_ones_are_not(home, dataset, tmp_path):
    assert only(lineage_of_document(home, hashlib.sha256(CAT.encode()).hexdigest()).datasets).splits == ("train",)
    assert lineage_of_document(home, text_file(tmp_path, CAT + " No.")).datasets == ()
    alike = hashlib.sha256(CAT.encode()).hexdigest()[:16] + "0" * 48
    assert lineage_of_document(home, alike).datasets == ()


def test_documents_are_cleaned_as_the_data_set_was(home, files, tmp_path):
    written_dataset(home, "repaired", ["The café."], [OWL], {"zoo": files["animals"]}, quality={"fix_unicode": True})
    written_dataset(home, "pruned", ["An article."], [OWL], {"zoo": files["animals"]}, quality={"remove_boilerplate": True})
    written_dataset(home, "plain", ["The cafe."], [OWL], {"zoo": files["animals"]})
    assert only(lineage_of_document(home, text_file(tmp_path, "The cafÃ©.")).datasets).dataset.startswith("repaired-")
    page = text_file(tmp_path, "An article.\nAll rights reserved.")
    assert only(lineage_of_document(home, page).datasets).dataset.startswith("pruned-")


def test_what_a_data_set_was_compared_with_is_not_in_it(home, files, dataset):
    second = written_dataset(home, "second", ["new"], ["newer"], {"more": files["pages"]}, inputs={"against-00": dataset})
    later = pretraining(home, "later", second)
    found = lineage_of_source(home, str(files["animals"]))
    assert only(found.datasets).digest == dataset.digest
    assert str(later.path) not in found.model_dump_json()


def test_an_unfinished_training_contains_its_data_already(home, dataset, tmp_path):
    pretraining(home, "run", dataset)
    found = lineage_of_document(home, text_file(tmp_path, CAT))
    stage = only(only(found.datasets).stages)
    assert (stage.stage, stage.kind, stage.use, stage.done) == ("runs/run/02-pretrain", "pretrain", TRAINED, False)
    assert stage.checkpoints == ("step_00000010", "step_00000020")
    assert (stage.milestones, stage.exported, stage.versions) == (("step_00000020",), False, ())


def test_fine_tunes_of_the_model_contain_it_but_not_those_from_random_weights(home, files, dataset, tmp_path):
    base = finished_training(pretraining(home, "run", dataset)).as_input(RunLayout(home, "run").pretrain().path)
    examples = written_examples(home, "pages", [PAGE], ["Another page."], files["pages"])
    finished_training(finetuning(home, "run", base, examples))
    finished_training(finetuning(home, "run", base, examples, init="random"))
    stranger = Input(path="elsewhere", digest="0" * 64)
    finetuning(home, "stranger", stranger, examples)
    milestone = Manifest.read(RunLayout(home, "run").pretrain().milestones / "step_00000020" / "manifest.json")
    finetuning(home, "early", Input(path="elsewhere", digest=milestone.digest), stranger)

    stage = only(only(lineage_of_document(home, text_file(tmp_path, CAT)).datasets).stages)
    assert (stage.done, stage.exported, stage.step, stage.digest) == (True, True, 10, base.digest)
    assert [(s.stage, s.use) for s in stage.stages] == [
        ("finetunes/early-topic/000000000000/finetune", STARTED),
        ("finetunes/run-topic/000000000000/finetune", STARTED),
    ]
    given = only(lineage_of_source(home, str(files["pages"])).datasets)
    assert (given.kind, given.splits) == ("examples", ("train", "test"))
    assert [s.stage for s in given.stages] == [
        "finetunes/run-topic/000000000000/finetune", "finetunes/run-topic/000000000000/random-init",
        "finetunes/stranger-topic/000000000000/finetune",
    ]  # fmt: skip
    assert only(lineage_of_document(home, text_file(tmp_path, PAGE)).datasets).places == ("train.jsonl line 1",)


def test_what_was_held_out_was_measured_on_and_goes_no_further(home, files, dataset, tmp_path):
    base = finished_training(pretraining(home, "run", dataset)).as_input(RunLayout(home, "run").pretrain().path)
    examples = written_examples(home, "pages", [PAGE], ["Another page."], files["pages"])
    finished_training(finetuning(home, "run", base, examples))
    stage = only(only(lineage_of_document(home, text_file(tmp_path, OWL)).datasets).stages)
    assert (stage.use, stage.stages) == (MEASURED, ())
    tested = only(lineage_of_document(home, text_file(tmp_path, "Another page.")).datasets)
    assert (tested.splits, only(tested.stages).use) == (("test",), MEASURED)


def test_down_to_the_aliases_that_are_held_now(tmp_path, files):
    home = new_home(tmp_path)
    stages = []
    for run in ("one", "two"):
        dataset = written_dataset(home, "animals", [CAT], [OWL], {"zoo": files["animals"]}, run=run)
        stage = pretraining(home, run, dataset)
        registry.register(home, new_version(stage, finished_training(stage)))
        stages.append(stage)
    versions = [use.stages[0].versions[0] for use in lineage_of_source(home, str(files["animals"])).datasets]
    held = {version.version: version.aliases for version in versions}
    assert held == {1: (), 2: ("pretrained",)}
    assert {(version.model, version.label) for version in versions} == {("demo-base", "pretrained")}
    assert holders_of_record(home, "demo-base") == {2: ("pretrained",)}


def test_without_mlflow_aliases_come_from_the_record_and_that_is_said(tmp_path, files):
    home = new_home(tmp_path)
    stage = pretraining(home, "one", written_dataset(home, "animals", [CAT], [OWL], {"zoo": files["animals"]}))
    registry.register(home, new_version(stage, finished_training(stage)))
    (home / "mlflow" / "mlflow.db").write_text("no database")
    found = lineage_of_source(home, str(files["animals"]))
    assert only(only(only(found.datasets).stages).versions).aliases == ("pretrained",)
    assert "aliases are those of the local record of their moves, because MLflow at sqlite:///" in only(found.notes)


def test_versions_of_another_mlflow_are_named_as_missing(tmp_path, files, monkeypatch):
    home = new_home(tmp_path)
    stage = pretraining(home, "one", written_dataset(home, "animals", [CAT], [OWL], {"zoo": files["animals"]}))
    registry.register(home, new_version(stage, finished_training(stage)))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    found = lineage_of_source(home, str(files["animals"]))
    assert only(only(found.datasets).stages).versions == ()
    assert "versions of this stage are not shown; set MLFLOW_TRACKING_URI to it" in only(found.notes)


def test_a_data_set_is_found_by_folder_and_by_name(home, files, dataset):
    stage = pretraining(home, "run", dataset)
    again = written_dataset(home, "animals", [CAT], [OWL], {"zoo": files["animals"]}, other=True)
    assert {use.digest for use in lineage_of_dataset(home, "animals").datasets} == {dataset.digest, again.digest}
    for given in (dataset.path, dataset.path.rpartition("/")[2]):
        use = only(lineage_of_dataset(home, given).datasets)
        assert (use.digest, use.places, only(use.stages).stage) == (dataset.digest, (), stage.path.relative_to(home).as_posix())
    with pytest.raises(ConfigError, match=r"--dataset='plants' is no finished data set of .*; there are: animals-"):
        lineage_of_dataset(home, "plants")


def test_what_cannot_be_looked_at_is_said_and_the_rest_is_answered(home, files, dataset, tmp_path):
    bare = written_dataset(home, "bare", [CAT], [OWL], {"zoo": files["animals"]})
    for path in (home / "datasets").glob("bare-*/*.digests.npy"):
        path.unlink()
    pretraining(home, "broken", dataset).manifest.write_text("{")
    found = lineage_of_document(home, text_file(tmp_path, CAT))
    assert only(found.datasets).digest == dataset.digest
    assert len(found.notes) == 2
    assert "nobody knows whether bare-" in found.notes[1] and bare.digest not in found.model_dump_json()
    assert "manifest.json cannot be read by this version" in found.notes[0]


@pytest.mark.parametrize(
    ("look", "content", "sentence"),
    [
        (
            lineage_of_source,
            None,
            "--source='.*missing' does not exist, and is no SHA-256; give one file, or 64 hexadecimal digits",
        ),
        (lineage_of_document, None, "--document='.*missing' does not exist"),
        (lineage_of_document, b"ab\xff", "--document='.*' is no UTF-8 at byte 2"),
        (lineage_of_document, b" \n", "--document='.*' is empty"),
    ],
)
def test_what_is_no_file_or_no_text_is_refused(home, tmp_path, look, content, sentence):
    path = tmp_path / "missing"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=sentence):
        look(home, str(path))


def test_a_folder_is_refused(home, tmp_path):
    with pytest.raises(DataError, match="is a folder, and is no SHA-256"):
        lineage_of_source(home, str(tmp_path))


def test_an_empty_home_has_nothing(home):
    found = lineage_of_source(home, "0" * 64)
    assert (found.datasets, found.num_datasets, found.notes) == ((), 0, ())


def test_what_is_gone_is_said_because_it_may_contain_it(home, files, dataset, tmp_path):
    kept = pretraining(home, "kept", dataset)
    lost = written_dataset(home, "lost", ["new"], ["newer"], {"more": files["pages"]})
    pretraining(home, "run", lost)
    shutil.rmtree(lost.path)
    found = lineage_of_source(home, str(files["pages"]))
    assert (found.datasets, found.num_datasets) == ((), 1)
    said = f"what runs/run/02-pretrain was given as dataset is gone (digest {lost.digest[:12]}), so nobody knows whether it"
    assert only(found.notes).startswith(said) and kept.path.name in said
    assert lineage_of_dataset(home, "animals").notes == ()


def test_a_file_of_a_data_set_of_its_own_test_examples_is_found(home, files):
    request = Request(kind="examples", identity={"kind": "classification"})
    stage = dataset_stage(home, "split", request.digest)
    digests = [hashlib.sha256(file_sha256(files[name]).encode()).hexdigest() for name in ("animals", "pages")]
    source = {"files": 1, "sha256": digests[0], "test": {"files": 1, "sha256": digests[1]}}
    made = written(stage, request, {}, {"source": source})
    for name, splits in (("animals", ("train", "test")), ("pages", ("test",))):
        use = only(lineage_of_source(home, str(files[name])).datasets)
        assert (use.digest, use.splits) == (made.digest, splits)
    assert lineage_of_source(home, str(files["other"])).datasets == ()
