"""The loss curve is a picture of 800 x 450 pixels, whatever was measured."""

import struct

import pytest

from tasks.training.convergence import Fit, Verdict
from tasks.training.measure.plots import loss_curve

FIT = Fit(offset=2.0, coefficient=30.0, exponent=0.3, residual=0.01)
VERDICT = Verdict(
    verdict="converged", reason="a reason " * 20, expected_gain=0.01, uncertainty=0.001, fit=FIT, num_evaluations=6
)


def evaluations(count: int) -> list[dict]:
    return [
        {"step": i, "tokens_seen": i * 1000, "heldout_loss": 5.0 / (i + 1) + 2, "train_loss": 5.0 / (i + 1) + 1.9}
        for i in range(count)
    ]


@pytest.mark.parametrize("count", [1, 2, 30])
@pytest.mark.parametrize("verdict", [None, VERDICT, VERDICT.model_copy(update={"fit": None})])
def test_a_curve_is_a_png(count: int, verdict: Verdict | None) -> None:
    picture = loss_curve(evaluations(count), verdict.model_dump(mode="json") if verdict else None)
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", picture[16:24]) == (800, 450)


def test_fit_and_points_are_drawn() -> None:
    base = loss_curve(evaluations(10), None)
    assert loss_curve(evaluations(10), VERDICT.model_dump(mode="json")) != base
    assert loss_curve(evaluations(11), None) != base


def drawn(monkeypatch, verdict: dict | None, unit: str) -> tuple[str, str]:
    """Title and vertical axis of the picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    axes = []
    monkeypatch.setattr(FigureCanvasAgg, "print_png", lambda canvas, _: axes.append(canvas.figure.axes[0]))
    loss_curve(evaluations(10), verdict, unit)
    return axes[0].get_title(), axes[0].get_ylabel()


def test_a_picture_without_a_verdict_claims_none(monkeypatch):
    assert drawn(monkeypatch, None, "nats/example") == ("", "loss (nats/example)")
    title, axis = drawn(monkeypatch, VERDICT.model_dump(mode="json"), "nats/token")
    assert title == f"{VERDICT.verdict}: {VERDICT.reason}"
    assert axis == "loss (nats/token)"
