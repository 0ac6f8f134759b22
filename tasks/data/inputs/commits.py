"""Which commits a run reads of data sets on the hub: asked for once, kept in `runs/NAME/inputs.json`, and from there on read.

Such a data set moves, and its name does not say what it held when the run began. So a commit is put into the settings
(`huggingface_revision`) before anything else is done with them, and nothing below asks the hub which one is meant.

- A run begins with the commit that the tag or branch (or the newest one, where none is set) is at that moment. It is written
  when the plan of the run was accepted: a refused command and a dry run leave nothing.
- Every later command, step and resume of the run takes what stands there, wherever the hub is by then, and if it is away.
- Another data set or revision in the settings is another entry, asked for like the first. What was begun with the first one
  refuses it, as any changed setting; set back, the first entry is found again. For newer text, give the run another name.
- Of two flows that begin at once, the first to write decides; the other goes on with what it finds.

Local files and URLs do not stand there. They are looked up whenever a request is made, which costs a look at their time stamps
(`tasks.data.inputs.sources`), because a change of them must be noticed: it makes another request.
"""

from pathlib import Path
from typing import TypeVar

from tasks.config.config import Config
from tasks.config.data import TextSource
from tasks.data.inputs.files import check_url_allowed, first_line
from tasks.data.inputs.sources import HUB_PREFIX, on_hub
from tasks.record.errors import DataError, IntegrityError
from tasks.record.files import Record, write_json
from tasks.record.layout import RunLayout
from tasks.record.lock import exclusive

S = TypeVar("S", bound=TextSource)


class HubCommit(Record):
    name: str
    """Of the data set."""
    asked: str | None
    """`huggingface_revision` as it was set."""
    commit: str


class RunInputs(Record):
    """`inputs.json`."""

    huggingface: tuple[HubCommit, ...] = ()


def pinned(run: RunLayout, config: Config) -> Config:
    """The settings with the run's commit of every data set on the hub; raises DataError where the hub is asked and has none."""
    if not any(on_hub(source) for source in config.data.sources):
        return config
    known = {(one.name, one.asked): one.commit for one in read_inputs(run).huggingface}

    def at_commit(source: S, section: str) -> S:
        if not on_hub(source):
            return source
        name, asked = source.path or "", source.huggingface_revision
        if (name, asked) not in known:
            known[name, asked] = commit_of(name, asked, section)
        return source.model_copy(update={"huggingface_revision": known[name, asked]})

    data = at_commit(config.data, "data")
    mixture = tuple(at_commit(source, f"data.mixture[{source.name}]") for source in data.mixture)
    return config.model_copy(update={"data": data.model_copy(update={"mixture": mixture})})


def keep_commits(run: RunLayout, config: Config, settled: Config) -> Config:
    """Write down the commits of `settled`, which is `config` pinned; returns it with those of a flow that was faster."""
    found = {
        (source.path or "", source.huggingface_revision): at.huggingface_revision or ""
        for source, at in zip(config.data.sources, settled.data.sources, strict=True)
        if on_hub(source)
    }
    if not found:
        return settled
    run.path.mkdir(parents=True, exist_ok=True)
    with exclusive(run.lock):
        known = read_inputs(run).huggingface
        for one in known:
            found.pop((one.name, one.asked), None)
        if found:
            new = (HubCommit(name=name, asked=asked, commit=commit) for (name, asked), commit in found.items())
            write_json(run.inputs, RunInputs(huggingface=(*known, *new)))
    return pinned(run, config)


def read_inputs(run: RunLayout) -> RunInputs:
    """Raises IntegrityError for a file that cannot be read."""
    try:
        return RunInputs.model_validate_json(run.inputs.read_bytes())
    except FileNotFoundError:
        return RunInputs()
    except ValueError as error:
        raise IntegrityError(
            f"{run.inputs} cannot be read ({str(error).splitlines()[0]}); restore it, or remove it to ask the hub again"
        ) from None


def commit_of(name: str, asked: str | None, section: str = "data") -> str:
    """The commit that a data set on the hub is at now, or offline the one in the cache; `section` has the settings.

    Raises DataError where there is no such data set or revision, or nobody to ask.
    """
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import (
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    field = f"{section}.path={name!r}"
    check_url_allowed(HUB_PREFIX + name, f"{section}.path")
    try:
        if constants.HF_HUB_OFFLINE:
            return Path(snapshot_download(name, repo_type="dataset", revision=asked, local_files_only=True)).name
        commit = HfApi().dataset_info(name, revision=asked, timeout=30).sha
        if commit is None:
            raise DataError(f"{field}: the hub names no commit for it; give a local folder")
        return commit
    except LocalEntryNotFoundError:
        at = "" if asked is None else f" at {section}.huggingface_revision={asked!r}"
        raise DataError(
            f"{field}{at} is neither a local folder nor in the Hugging Face cache, and HF_HUB_OFFLINE is set; "
            "download it first or give a local folder"
        ) from None
    except RevisionNotFoundError:
        raise DataError(
            f"{section}.huggingface_revision={asked!r} is no commit, tag or branch of {name!r} on the hub; mend it, or leave "
            "it empty for the newest commit"
        ) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise DataError(f"{field} is neither a local folder nor a data set on the hub; mend the path or the name") from None
    except (HTTPError, OSError) as error:
        reason = first_line(error)
        raise DataError(
            f"{field} is no local folder and the hub cannot be reached ({reason}); go online or give a local folder"
        ) from None
