"""What one rank alone came upon, raised on all of them at the same place: none is left waiting in a collective."""

from tasks.record.failures import Failure
from tasks.training.checkpoint.checkpoint import gathered
from tasks.training.model.ranks import Ranks


def raise_together(ranks: Ranks, failure: Failure | None, cause: BaseException | None = None) -> None:
    """Raise the first of the ranks' failures, the same on each; return where there is none. All ranks call it.

    `cause` is this rank's own exception, for its log.
    """
    failures = [one for one in gathered(ranks, failure) if one is not None]
    if failures:
        raise min(failures, key=lambda one: (one.when, one.rank)).exception() from cause
