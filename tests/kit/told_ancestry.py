"""An ancestry with everything that can be said in one, for what prints and draws it."""

from tasks.audit.ancestors import Ancestor, EvaluationSet, SourceFile
from tasks.audit.ancestry import Ancestry, Registered
from tasks.registry.records import Move


def told() -> Ancestry:
    """A champion from a base that was taken in, with examples that are gone."""
    weights = SourceFile(source="", name="model.safetensors", sha256="f" * 64, licence="apache-2.0")
    base = Ancestor(
        role="base", kind="base", name="bases/model-1", digest="b" * 64, stated="verified", taken_from="org/model@1",
        licence="apache-2.0", sources=(weights,),
    )  # fmt: skip
    examples = Ancestor(
        role="examples", kind="examples", name="datasets/labels-1", digest="e" * 64, stated="changed",
        said="it holds another result by now", numbers={"read_examples": 100}, dropped={"duplicate": 10},
        sources=(SourceFile(source="examples", name="a.jsonl", size_bytes=1000, version="ETag 7", kept=False),),
        compared_with=(EvaluationSet(name="earlier", digest="9" * 64, stated="gone"),),
    )  # fmt: skip
    tuned = Ancestor(
        role="model", kind="finetune", name="finetunes/demo-topic/ab/finetune", digest="a" * 64, stated="verified",
        made_at="2026-11-27T11:00:00+00:00", commit="c0ffee", libraries={"torch": "2.13.0", "mlflow": None},
        numbers={"step": 90, "tokens_seen": 40869}, recipe={"finetune.seed": 1, "init": "base"}, made_from=(base, examples),
    )  # fmt: skip
    times = ("2026-11-26T00:00:00+00:00", "2026-11-27T11:30:00+00:00")
    moves = (
        Move(model="demo-topic", alias="candidate", from_version=None, to_version=2, reason="", by="register", time=times[0]),
        Move(model="demo-topic", alias="champion", from_version=1, to_version=2, reason="better", by="anna", time=times[1]),
    )
    version = Registered(
        model="demo-topic", version=2, label="candidate", digest="a" * 64, in_mlflow="registered", aliases=("champion",),
        score={"accuracy": 0.91234}, decision="promote", decided_at="2026-11-27T11:25:24+00:00",
        reasons=("✓ accuracy is enough",), moves=moves, approved_by="anna", promoted_at=times[1],
    )  # fmt: skip
    measured = EvaluationSet(name="labels (test)", digest="e" * 64, sha256="5" * 64, num_items=62, stated="verified")
    return Ancestry(asked="demo-topic", version=version, evaluated_on=(measured,), made_by=tuned, notes=("MLflow is away",))
