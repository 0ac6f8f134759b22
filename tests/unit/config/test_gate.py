import pytest
from pydantic import ValidationError

from tasks.config.gate import ASKING, GateConfig


def test_nobody_is_asked_unless_that_is_set():
    assert GateConfig().approval == "none"
    assert GateConfig(approval="required", approvers=("anna",)).approval_days == 14.0


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"approvers": ["anna"]}, "gate.approvers=['anna'] is set and gate.approval is \"none\", so nobody is asked; set"),
        (
            {"approval": "required", "approvers": [" "]},
            "gate.approvers=[' '] holds an empty name; give each the name of a person",
        ),
        ({"approval_days": 0.0}, "greater than 0"),
        ({"approval_days": 400.0}, "less than or equal to 365"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values, sentence):
    with pytest.raises(ValidationError) as refused:
        GateConfig.model_validate(values)

    assert sentence in str(refused.value)


def test_how_a_person_is_asked_is_no_part_of_what_is_measured():
    assert GateConfig.model_fields.keys() >= ASKING
    assert GateConfig(approval="required").model_dump(exclude=ASKING) == GateConfig().model_dump(exclude=ASKING)
