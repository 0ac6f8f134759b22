"""Starting the process of a stage, following it, stopping it.

The protocol between a stage's process and whoever waits for it is files in the stage's folder, nothing else:

- `request.json` is there before the process starts; the process gets the folder as its only argument.
- It appends to `journal.jsonl`: `progress` (fraction, message), `start`, `step`, `evaluation`, `verdict`, `milestone`, `done`.
- It ends with exit code 0 after writing `manifest.json`; with exit code 2 after writing `error.json` ({"error", "message"}) for
  a mistake of the user's; with any other code when it broke.
- When `stop` exists it stops at the next step boundary, after a checkpoint, and ends with exit code 3.
"""
