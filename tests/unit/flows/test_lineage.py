"""The tree that `pretune lineage` prints."""

from flows.lineage import text_lineage
from tasks.audit.lineage import STARTED, TRAINED, DatasetUse, Lineage, StageUse, VersionUse

NOTHING = {"step": None, "tokens_seen": None, "digest": None, "milestones": (), "exported": False, "stages": ()}


def tuned() -> StageUse:
    versions = (VersionUse(model="demo-topic", version=3, label="candidate", aliases=("candidate", "champion")),)
    return StageUse(stage="runs/a/03", kind="finetune", use=STARTED, done=True, checkpoints=(), versions=versions, **NOTHING)


def trained() -> StageUse:
    values = NOTHING | {"stages": (tuned(),), "exported": True, "milestones": ("step_5",)}
    versions = (VersionUse(model="demo-base", version=1, label="converged step 5", aliases=()),)
    checkpoints = tuple(f"step_{n}" for n in range(9))
    return StageUse(
        stage="runs/a/02", kind="pretrain", use=TRAINED, done=False, checkpoints=checkpoints, versions=versions, **values
    )


def lineage(asked="source", stages=(), **changes) -> Lineage:
    dataset = DatasetUse(
        dataset="wiki-1", kind="prepare", digest="d" * 64, splits=("train",), places=("wiki: a.bz2",), stages=stages
    )
    values = {"asked": asked, "given": "a.bz2", "digest": "f" * 64, "num_datasets": 4, "datasets": (dataset,), "notes": ()}
    return Lineage(**values | changes)


def test_the_tree_goes_down_to_the_aliases():
    assert text_lineage(lineage(stages=(trained(),), notes=("MLflow is away", "x"))).splitlines() == [
        "File a.bz2 (SHA-256 ffffffffffff) is in 1 of the 4 finished data sets.",
        "",
        "data set wiki-1  (split train, digest dddddddddddd)",
        "  as wiki: a.bz2",
        "  pre-training runs/a/02: trained on it, not finished",
        "    checkpoints: step_0, step_1 ... step_7, step_8 (9 in all)",
        "    milestones: step_5",
        "    model: runs/a/02/export",
        "    registered: demo-base version 1 (converged step 5)",
        "    fine-tune runs/a/03: starts from it, done",
        "      registered: demo-topic version 3 (candidate)  <- candidate, champion",
        "",
        "Note: MLflow is away",
        "",
        "Note: x",
    ]


def test_a_data_set_without_trainings_says_so():
    assert text_lineage(lineage()).splitlines()[-1] == "  nothing was trained on it"


def test_nowhere_is_one_sentence():
    assert (
        text_lineage(lineage("document", datasets=(), digest=None)) == "Document a.bz2 is in none of the 4 finished data sets."
    )


def test_a_data_set_is_asked_for_by_name():
    said = text_lineage(lineage("dataset", stages=(trained(),), given="wiki", digest=None))
    assert said.startswith("Data set wiki: 1 training was given it.")
    assert text_lineage(lineage("dataset", given="wiki", digest=None)).startswith("Data set wiki: 0 trainings were given it.")
