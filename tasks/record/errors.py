"""The mistakes that a user can make, each of which ends the command with exit code 2 and no traceback."""

from collections.abc import Iterator


class PretuneError(Exception):
    """A mistake that the user can mend. The message is one sentence: field, value, rule, remedy."""


class ConfigError(PretuneError):
    """A setting is unknown, out of bounds, or contradicts another one."""


class MissingBaseError(ConfigError):
    """A fine-tune's base is the model of a run that has not been trained yet."""


class UnplannedError(ConfigError):
    """A model that can be trained and whose sizes the planner does not know."""


class DataError(PretuneError):
    """An input file is missing, empty, unreadable, or does not have what the configuration says it has."""


class DamagedError(DataError):
    """From some place on a file cannot be read, and up to there it was."""

    def __init__(self, message: str, reason: str = "damaged", place: str = "", problem: str = "") -> None:
        super().__init__(message)
        self.reason, self.place, self.problem = reason, place, problem


class DiskFullError(PretuneError):
    """Nothing more can be written; what is done is kept, and the same command continues when there is space."""


class LimitError(PretuneError):
    """A limit of this machine (open files, size of a file) ended a rank; what is done is kept."""


class IntegrityError(PretuneError):
    """A file is not what its manifest says: its size or SHA-256 differs, or it is gone."""


class RequestChangedError(PretuneError):
    """A stage of this name was run, or begun, with another request."""


class LockedError(PretuneError):
    """Another live process owns what was to be written."""


class StageError(PretuneError):
    """A stage ended without a result; the message says why and where its logs are."""


class DivergedError(PretuneError):
    """Training has diverged; the message says where and what to change."""


class StoppedError(PretuneError):
    """A stage was asked to stop and did, at a step boundary; it can be continued."""


class TrackingError(PretuneError):
    """MLflow did not answer, or does not hold what was just written to it; nothing is lost, the next call goes on."""


class GateError(PretuneError):
    """A model without a positive, matching blessing was to be promoted."""


class ComparisonNeededError(GateError):
    """The candidate was compared with no champion yet, or with another one than holds the place now; a comparison decides."""


def error_named(name: str) -> type[PretuneError]:
    """The exception class of that name; `StageError` for a name that is not ours.

    A child process leaves the name and the message of its user error in `error.json`; the parent raises it again.
    """
    return next((cls for cls in subclasses(PretuneError) if cls.__name__ == name), StageError)


def subclasses(cls: type[PretuneError]) -> Iterator[type[PretuneError]]:
    """Those of every depth."""
    for child in cls.__subclasses__():
        yield child
        yield from subclasses(child)
