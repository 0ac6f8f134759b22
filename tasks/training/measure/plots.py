"""The loss curve as a PNG."""

import io
from typing import Any


def loss_curve(evaluations: list[dict[str, Any]], verdict: dict[str, Any] | None, unit: str = "nats/token") -> bytes:
    """Held-out and training loss over tokens, with the fitted power law; the title is the verdict, if any; 800 x 450 pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    tokens = [e["tokens_seen"] / 1e6 for e in evaluations]
    axes.plot(tokens, [e["heldout_loss"] for e in evaluations], "o-", markersize=3, label="held-out loss")
    later = [e for e in evaluations if e["step"] > 0]
    axes.plot([e["tokens_seen"] / 1e6 for e in later], [e["train_loss"] for e in later], "-", alpha=0.6, label="training loss")
    fit = (verdict or {}).get("fit")
    if fit and later:
        start, end = later[0]["tokens_seen"], later[-1]["tokens_seen"] * 1.25
        places = [start + (end - start) * i / 100 for i in range(101)]
        curve = [fit["offset"] + fit["coefficient"] * t ** -fit["exponent"] for t in places]
        axes.plot([t / 1e6 for t in places], curve, "--", linewidth=1, label="fit of the stable phase")
        losses = [e["heldout_loss"] for e in later] + [e["train_loss"] for e in later]
        axes.set_ylim(min(losses) - 0.2, max(losses) + 0.2)
    axes.set_xlabel("tokens seen (millions)")
    axes.set_ylabel(f"loss ({unit})")
    if verdict:
        axes.set_title(f"{verdict['verdict']}: {verdict['reason']}", fontsize=8, wrap=True)
    axes.grid(alpha=0.3)
    axes.legend()
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()
