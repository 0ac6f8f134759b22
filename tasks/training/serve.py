"""An exported model over HTTP on this machine: `python -m tasks.training.serve FOLDER --port N`.

A causal model is served by `transformers serve` (OpenAI's interface for chats and completions); a classifier, which that does
not know, by the one route below. Both listen on this machine alone, and answer at /health when they are ready.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from starlette.middleware.trustedhost import TrustedHostMiddleware

from tasks.training.asked import ended, is_classifier, load_model, load_tokenizer, num_positions
from tasks.training.predict import Classifier

HOST = "127.0.0.1"
HOSTS = [HOST, "localhost"]
"""What a request may have been sent to: a page of another site that resolves its own name to this machine is refused."""


class Question(BaseModel):
    """The body of a request."""

    model_config = ConfigDict(extra="forbid")
    texts: list[str] = Field(min_length=1, max_length=1024)
    """Texts to be classified."""


def classifier_app(classifier: Classifier) -> FastAPI:
    """POST /predict with `{"texts": [...]}` gives `{"predictions": [...]}`, one for each text, as `pretune predict` has it."""
    app = FastAPI(title="pretune")
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/predict")
    def predict(question: Question) -> dict[str, list[dict[str, Any]]]:
        return {"predictions": classifier(question.texts)}

    return app


def serve(folder: Path, port: int, max_length: int | None) -> None:
    if is_classifier(folder):
        model = load_model(folder)
        longest = min(max_length or num_positions(model), num_positions(model))
        app = classifier_app(Classifier(model, load_tokenizer(folder), longest))
        uvicorn.run(app, host=HOST, port=port)
        return
    from transformers.cli import serve as library  # needs the extra `serve`

    library.Serve(force_model=str(folder), host=HOST, port=port)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Serve an exported model on this machine.")
    parser.add_argument("folder", type=Path, help="a model in Hugging Face layout")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--max-length", type=int, help="tokens of a text that a classifier reads")
    given = parser.parse_args(arguments)
    return ended(lambda: serve(given.folder, given.port, given.max_length))


if __name__ == "__main__":
    sys.exit(main())
