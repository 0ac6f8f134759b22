"""The records of a plan: what they derive."""

import json

from tasks.config.parallel import Layout
from tasks.planning.plan import plan_for
from tasks.planning.records import Plan
from tests.kit.plans import large


def test_the_json_has_everything_that_the_text_says():
    plan = plan_for(large(), "h100", 64)
    values = json.loads(plan.model_dump_json())
    assert values["chosen"]["layout"] == vars(plan.chosen.layout)
    assert values["settings_line"] == plan.settings_line
    assert values["disk"]["total_bytes"] == plan.disk.total_bytes
    assert set(values) >= set(Plan.model_fields)


def test_the_settings_are_quoted_for_the_shell_and_leave_out_what_is_one():
    made = plan_for(large(), "h100", 64).chosen.model_copy(
        update={"layout": Layout(2, 1, 8, 4), "activation_checkpointing": "none", "micro_batch_size": 2}
    )
    assert made.settings == [
        "launch.num_processes=64", "parallel.pipeline_parallel=2", "parallel.replicate=1", "parallel.shard=8",
        "parallel.tensor_parallel=4", 'parallel.activation_checkpointing="none"', "pretrain.micro_batch_size=2",
    ]  # fmt: skip
