"""Floor 3.3, loads no library: starting the process of a stage, following it, stopping it.

The protocol between a stage's process and whoever waits for it is files in the stage's folder, nothing else:

- `request.json` is there before the process starts; the process gets the folder as its only argument.
- It appends to `journal.jsonl`: `progress` (fraction, message), `start`, `step`, `evaluation`, `verdict`, `milestone`, `done`.
- It is done when it has written `manifest.json`; it was refused when there is `error.json` ({"error", "message"}), for a
  mistake of the user's; when it ends with neither, it broke, and is started again. (Launchers do not hand exit codes on.)
- A rank that fails says why in a record of its own, which is on disk before it starts, and ends without waiting for the others.
  The supervisor takes what happened first, never its echo in another rank, into `error.json` or the count of restarts.
- When `stop` exists it stops at the next step boundary, after a checkpoint, and ends.
"""
