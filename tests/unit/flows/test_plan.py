"""The word `plan`: its flags, its output, and its refusals."""

import json

import pytest

from flows.__main__ import main


def test_the_plan_of_a_preset_is_printed(capsys):
    assert main(["plan", "gpu-1b", "--no-simulation", "--gpu", "h200", "--price-per-gpu-hour", "3"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("llama, 1,185,253,376 parameters, bf16, on 8 x h200")
    assert "price" in out and "To train so:" in out


def test_the_json_is_complete(capsys):
    assert main(["plan", "gpu-1b", "--no-simulation", "--json", "--nodes", "2", "--set", "pretrain.micro_batch_size=2"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["world_size"], plan["nodes"]) == (16, 2)
    assert plan["configured"]["candidate"]["micro_batch_size"] == 2
    assert plan["chosen"]["fits"] is True


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--world-size", "0"], "--world-size=0 is not a number of devices"),
        (["--world-size", "9", "--nodes", "2"], "--world-size=9 is not --nodes x --gpus-per-node = 2 x 8 = 16"),
        (["--gpu", "v100"], "--gpu='v100' is not in the table"),
        (["--price-per-gpu-hour", "-3"], "--price-per-gpu-hour=-3.0 is not a price; give a number from 0 on"),
        (["--price-per-gpu-hour", "nan"], "--price-per-gpu-hour=nan is not a price"),
        (["--world-size", "37"], "--world-size=37: no layout can be had"),
        (["--set", "model.architecture=mamba"], "model.architecture='mamba' cannot be planned"),
        (["--gpu", "4090", "--world-size", "1", "--set", "model.num_hidden_layers=48"], "fits on none of"),
    ],
)
def test_mistakes_end_in_one_sentence_and_code_2(flags, said, capsys):
    assert main(["plan", "gpu-1b", "--no-simulation", *flags]) == 2
    error = capsys.readouterr().err
    assert said in error and error.startswith("pretune: ") and len(error.splitlines()) == 1
