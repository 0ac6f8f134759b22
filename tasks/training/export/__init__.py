"""Floor 4.3, loads safetensors, torch, transformers: a model in Hugging Face layout, written whole or by many
ranks, read again, and served."""
