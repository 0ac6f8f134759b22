"""What a person sees of a stage while it runs."""

from pathlib import Path

from tasks.orchestration.stage import artifact_key, data_card, loss_chart
from tasks.record.journal import Journal
from tasks.record.layout import StageLayout


def test_the_chart_of_a_running_stage_shows_every_measurement_as_last_written(tmp_path: Path) -> None:
    stage = StageLayout(tmp_path)
    journal = Journal(stage.journal, 1)
    journal.append("evaluation", step=0, heldout_loss=8.0)
    assert loss_chart(stage) is None, "one point is no curve"
    journal.append("evaluation", step=10, heldout_loss=7.0)
    journal.append("evaluation", step=20, heldout_loss=5.5)
    journal.append("evaluation", step=20, heldout_loss=6.0)
    chart = loss_chart(stage)
    assert chart is not None and chart.startswith("```mermaid\n") and "\nxychart-beta\n" in chart
    assert 'x-axis "step" 0 --> 20' in chart
    assert "line [8.0000, 7.0000, 6.0000]" in chart
    assert 'y-axis "loss" 5.900 --> 8.100' in chart


def test_a_finished_stage_shows_its_own_picture(tmp_path: Path) -> None:
    (tmp_path / "curve.png").write_bytes(b"\x89PNG")
    assert loss_chart(StageLayout(tmp_path)) == "![held-out loss](data:image/png;base64,iVBORw==)"


def test_a_data_card_is_shown_with_its_picture(tmp_path: Path) -> None:
    (tmp_path / "data_card.md").write_text("# Data set\n\n![what it shows](data_card.png)\n\n## Sources: naïve\n")
    assert "](data_card.png)" in data_card(StageLayout(tmp_path))
    (tmp_path / "data_card.png").write_bytes(b"\x89PNG")
    shown = data_card(StageLayout(tmp_path))
    assert shown == "# Data set\n\n![what it shows](data:image/png;base64,iVBORw==)\n\n## Sources: naïve\n"


def test_artifact_keys_have_only_what_prefect_allows() -> None:
    assert artifact_key("My.Run_1-02-pretrain") == "my-run-1-02-pretrain"
