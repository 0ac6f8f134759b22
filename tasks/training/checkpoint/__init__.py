"""Floor 4.2, loads safetensors, torch: state that can be resumed on any layout: staged, written in parts, committed, read."""
