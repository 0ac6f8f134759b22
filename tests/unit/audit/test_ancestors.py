"""What is said of one ancestor."""

from pathlib import Path

from tasks.audit.ancestors import described, licences, only_source
from tasks.audit.inventory import Inventory, Thing
from tasks.data.inputs.sources import SAMPLE_SHA256
from tasks.record.manifest import Manifest, Request
from tests.kit.lineage_homes import random_home


def thing(manifest: Manifest, request: Request | None = None) -> Thing:
    return Thing(Path("/x"), Path("/x"), manifest, request, {})


def test_the_sample_is_named_with_its_digest_and_licence():
    source = {"sample": "wheel", "version": "1", "sha256": SAMPLE_SHA256}
    request = Request(kind="examples", identity={"examples": {"source": "sample"}, "source": source})
    manifest = Manifest(kind="examples", request_digest=request.digest, details={"source": source})
    (file,) = only_source(thing(manifest, request), request)
    assert (file.name, file.sha256) == ("wheel", SAMPLE_SHA256)
    assert "CC BY-SA 4.0" in file.licence and "made into labelled examples" in file.licence


def test_several_files_with_one_digest_over_all_are_said_to_be_that():
    manifest = Manifest(kind="examples", request_digest="r", details={"source": {"files": 3, "bytes": 7, "sha256": "ab"}})
    (file,) = only_source(thing(manifest), None)
    assert file.name == "3 files, of which only one digest over all was kept"
    assert (file.size_bytes, file.sha256, file.version) == (7, None, "ab")


def test_each_source_of_a_mixture_has_its_own_licence():
    data = {"name": "wiki", "source": "mediawiki", "mixture": [{"name": "hub", "source": "huggingface"}]}
    hub = {"name": "org/set", "config": None, "split": "train", "revision": "abc"}
    request = Request(kind="prepare", identity={"data": data, "source": {"sources": [{"sha256": "1"}, hub]}})
    found = dict(licences(thing(Manifest(kind="prepare", request_digest=""), request), request))
    assert "CC BY-SA 4.0" in found["wiki"] and "org/set" in found["hub"] and "revision `abc`" in found["hub"]


def test_sets_that_were_kept_out_are_named_with_their_digest(home):
    made = random_home(home, 0, finetunes=0)
    one = Inventory(home).things[made.datasets[0].digest]
    assert one.request is not None
    identity = {
        "data": one.request.identity["data"] | {"decontamination": {"evaluations": [{"name": "exam"}]}},
        "source": one.request.identity["source"] | {"evaluations": [{"sha256": "e" * 64}]},
    }
    request = Request(kind="prepare", identity=identity)
    manifest = one.manifest.model_copy(
        update={"request_digest": request.digest, "details": one.manifest.details | {"contamination": {"exam": {"items": 4}}}}
    )
    facts = described(home, Thing(one.folder, one.stage, manifest, request, {}))
    (kept_out,) = facts["evaluated_on"]
    assert (kept_out.name, kept_out.digest, kept_out.num_items) == ("exam", "e" * 64, 4)


def test_a_source_of_which_nothing_was_kept_says_so(home):
    made = random_home(home, 0, finetunes=0)
    one = Inventory(home).things[made.datasets[0].digest]
    emptied = [source | {"documents": 0} for source in one.manifest.details["sources"]]
    manifest = one.manifest.model_copy(update={"details": one.manifest.details | {"sources": emptied}})
    facts = described(home, Thing(one.folder, one.stage, manifest, one.request, {}))
    assert facts["sources"] and not any(file.kept for file in facts["sources"])


def test_a_data_set_has_no_recipe_and_a_training_has_its_settings_flat(home):
    made = random_home(home, 0, finetunes=1)
    things = Inventory(home).things
    assert described(home, things[made.datasets[0].digest])["recipe"] == {}
    assert described(home, things[made.models[-1].digest])["recipe"] == {"finetune.seed": 0, "init": "base"}


def test_a_base_on_the_hub_is_named_with_its_commit():
    identity = {"source": {"kind": "hub", "name": "org/model", "commit": "c0ffee"}}
    request = Request(kind="base", identity=identity)
    manifest = Manifest(kind="base", request_digest=request.digest, details={"source": "org/model@main", "licence": "mit"})
    facts = described(Path("/x"), thing(manifest, request))
    (file,) = facts["sources"]
    assert (file.name, file.version, file.sha256, file.licence) == ("org/model", "c0ffee", None, "mit")
    assert facts["taken_from"] == "org/model@main"
