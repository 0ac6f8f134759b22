"""The code that travels with a registered model: how MLflow loads it, and what it answers. It imports nothing of ours.

A copy of this file lies beside the weights (`tasks/registry/mlmodel.py` puts it there), so that whoever serves the model needs
MLflow and the model's requirements.txt only. Nothing is unpickled: weights are safetensors, all else is JSON and this text.
"""

from typing import Any

import pandas as pd
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

BATCH_SIZE = 32
NEW_TOKENS = 60


def _load_pyfunc(path: str, model_config: dict[str, Any] | None = None) -> "Classifier | Writer":
    """What MLflow calls; `path` is the model's folder, `model_config` what its MLmodel says of it."""
    settings = model_config or {}
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # On a CPU bf16 is no faster for a few rows, and a model was judged in fp32.
    how: dict[str, Any] = {"dtype": "auto" if device.type == "cuda" else torch.float32, "use_safetensors": True}
    if settings["task"] == "text-classification":
        model: Any = AutoModelForSequenceClassification.from_pretrained(path, **how)
        tokenizer = AutoTokenizer.from_pretrained(path, split_special_tokens=True)
        return Classifier(model.to(device).eval(), tokenizer, settings.get("max_length"))
    chat = bool(settings.get("chat"))
    # A marker in a text is ordinary characters, as it was in training; only a chat template writes real ones.
    tokenizer = AutoTokenizer.from_pretrained(path, split_special_tokens=not chat)
    model = AutoModelForCausalLM.from_pretrained(path, **how)
    return Writer(model.to(device).eval(), tokenizer, chat)


class Classifier:
    """A text to a label."""

    def __init__(self, model: Any, tokenizer: Any, max_length: int | None) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.max_length = min(max_length or model.config.max_position_embeddings, model.config.max_position_embeddings)

    def predict(self, data: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Columns `label`, `score` (its probability) and `probabilities` (label to probability), one row per text."""
        texts = [str(text) for text in data.iloc[:, 0]]
        rows: list[dict[str, Any]] = []
        for start in range(0, len(texts), BATCH_SIZE):
            batch = self.tokenizer(
                texts[start : start + BATCH_SIZE], truncation=True, max_length=self.max_length, padding=True,
                padding_side="right", return_tensors="pt",
            ).to(self.model.device)  # fmt: skip
            with torch.inference_mode():
                scores = self.model(**batch).logits.float().softmax(-1).tolist()
            rows += [self.row(one) for one in scores]
        return pd.DataFrame(rows, columns=["label", "score", "probabilities"])

    def row(self, scores: list[float]) -> dict[str, Any]:
        named = {self.model.config.id2label[place]: score for place, score in enumerate(scores)}
        best = max(named, key=named.__getitem__)
        return {"label": best, "score": named[best], "probabilities": named}


class Writer:
    """A prompt to an answer, by the chat template of the model's own tokenizer; or, without `chat`, to how it goes on."""

    def __init__(self, model: Any, tokenizer: Any, chat: bool) -> None:
        self.model, self.tokenizer, self.chat = model, tokenizer, chat

    def predict(self, data: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Column `answer`, one row per prompt. Raises ValueError for a prompt that leaves no room for an answer."""
        asked = params or {}
        return pd.DataFrame({"answer": [self.answer(str(prompt), asked) for prompt in data.iloc[:, 0]]})

    def answer(self, prompt: str, asked: dict[str, Any]) -> str:
        ids = self.tokenizer(self.framed(prompt), add_special_tokens=not self.chat, return_tensors="pt")["input_ids"]
        room = self.model.config.max_position_embeddings - ids.shape[1]
        if room < 1:
            raise ValueError(
                f"the prompt has {ids.shape[1]} tokens and the model reads {self.model.config.max_position_embeddings} with "
                "its answer; give a shorter one"
            )
        ids = ids.to(self.model.device)
        temperature = float(asked.get("temperature") or 0.0)
        how: dict[str, Any] = {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
        with torch.inference_mode():
            made = self.model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids),
                max_new_tokens=min(asked.get("max_new_tokens") or NEW_TOKENS, room),
                pad_token_id=self.model.config.pad_token_id, eos_token_id=self.tokenizer.eos_token_id, **how,
            )  # fmt: skip
        return self.tokenizer.decode(made[0][ids.shape[1] :], skip_special_tokens=True).strip()

    def framed(self, prompt: str) -> str:
        if not self.chat:
            return prompt
        message = [{"role": "user", "content": prompt}]
        return self.tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
