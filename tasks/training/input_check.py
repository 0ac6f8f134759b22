"""Whether a stage's inputs are what their manifests say: verified on every start, beside its first steps where it has any."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tasks.record.errors import IntegrityError
from tasks.record.manifest import Manifest, verify
from tasks.training.checkpoint.checkpoint import gathered, share_of_files
from tasks.training.model.ranks import Ranks

POLL_SECONDS = 0.1
NOTE_SECONDS = 60.0
"""So often a waiting rank 0 says that it lives; the supervisor ends what is silent for `launch.stall_timeout_seconds`."""


class InputCheck:
    """Verifies folders in a thread of each rank, which reads its share of their files."""

    def __init__(self, ranks: Ranks, inputs: Sequence[tuple[Path, Manifest]] = ()) -> None:
        """Begins at once; `inputs` are folders with their manifests. All ranks make one, of the same inputs."""
        self._ranks, self._inputs = ranks, inputs
        self._sentence: str | None = None
        self._read = threading.Event()
        self._concluded = not inputs
        if inputs:
            threading.Thread(target=self._verify, name="verification of the inputs", daemon=True).start()

    @property
    def found_damage(self) -> bool:
        """Whether this rank has, so far."""
        return self._sentence is not None

    def conclude(self, note: Callable[[], None] = lambda: None) -> None:
        """Return when every file was verified by some rank: nothing may be committed before. All ranks call it.

        `note` is called every minute of waiting. Raises IntegrityError, the same on all ranks, for what any of them found.
        """
        noted = time.monotonic()
        while not self._concluded:
            # All ranks ask each other, so that none is in a collective for longer than its time-out.
            unfinished, damaged = self._ranks.sums([float(not self._read.is_set()), float(self.found_damage)])
            if damaged or not unfinished:
                self.raise_damage()
                self._concluded = True
                return
            time.sleep(POLL_SECONDS)
            if time.monotonic() - noted > NOTE_SECONDS:
                noted = time.monotonic()
                note()

    def raise_damage(self) -> None:
        """Raises IntegrityError, the same on all ranks, if any of them has found damage. All ranks call it."""
        said = gathered(self._ranks, self._sentence)
        if sentence := next((one for one in said if one is not None), None):
            raise IntegrityError(sentence)

    def _verify(self) -> None:
        """The thread."""
        try:
            for folder, manifest in self._inputs:
                verify(folder, manifest.model_copy(update={"files": share_of_files(manifest, self._ranks)}))
        except IntegrityError as error:
            self._sentence = str(error)
        except BaseException as error:  # noqa: BLE001 (what was not verified must not be taken for intact)
            self._sentence = f"the inputs could not be verified ({error!r}); run the same command again"
        finally:
            self._read.set()
