"""A model on the hub as a base: which commit is meant is asked once, and from then on read from a file of pins.

Its settings and its list of files are looked at when it is pinned; the weights are fetched by the stage that takes it in.
"""

from pathlib import Path

from tasks.config.base import Base
from tasks.data.inputs.bases import (
    SETTINGS,
    TOKENIZER_FILES,
    WEIGHTS_INDEX,
    Source,
    check_names,
    check_settings,
    licence_of,
    weight_files,
)
from tasks.data.inputs.files import check_url_allowed, first_line
from tasks.record.errors import DataError, IntegrityError
from tasks.record.files import Record, write_json
from tasks.record.lock import exclusive

HUB_PREFIX = "hf://models/"
"""What a model on the hub is called where the data root lists what may be read."""
SMALL = (*SETTINGS, *TOKENIZER_FILES, WEIGHTS_INDEX, "README.md", "LICENSE*", "COPYING")
FETCHED = (*SETTINGS, *TOKENIZER_FILES, WEIGHTS_INDEX, "*.safetensors")


class ModelCommit(Record):
    name: str
    asked: str | None
    """Commit, tag or branch as it was written."""
    commit: str
    licence: str


class Pins(Record):
    models: tuple[ModelCommit, ...] = ()


def hub_source(base: Base, pins: Path, field: str = "base") -> Source:
    """The model at the commit that `pins` has for it, or that the hub has now, which is then written there.

    Raises DataError where the hub has no such model, cannot be asked, or has one that cannot be a base.
    """
    said = f"{field}={base.text!r}"
    check_url_allowed(HUB_PREFIX + base.name, field)
    if Path(base.name).is_dir():
        raise DataError(f"{said} is an id on the hub as it is written, and a folder lies there too; for that write './...'")
    known = pinned_model(pins, base)
    if known is None:
        known = keep_pin(pins, base, looked_at(base, said))
    return Source({"kind": "hub", "name": known.name, "commit": known.commit}, known.licence)


def read_pins(pins: Path) -> Pins:
    try:
        return Pins.model_validate_json(pins.read_bytes())
    except FileNotFoundError:
        return Pins()
    except ValueError as error:
        raise IntegrityError(
            f"{pins} cannot be read ({first_line(error)}); restore it, or remove it to ask the hub again"
        ) from None


def pinned_model(pins: Path, base: Base) -> ModelCommit | None:
    found = read_pins(pins).models
    return next((one for one in found if (one.name, one.asked) == (base.name, base.revision)), None)


def keep_pin(pins: Path, base: Base, new: ModelCommit) -> ModelCommit:
    """Write it down; of two that do so at once the first decides."""
    pins.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(pins.with_name(f".{pins.name}.lock")):
        if (known := pinned_model(pins, base)) is not None:
            return known
        write_json(pins, Pins(models=(*read_pins(pins).models, new)))
    return new


def looked_at(base: Base, said: str) -> ModelCommit:
    """The commit of now, after a look at the model's settings and the names of its files."""
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import (
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        if constants.HF_HUB_OFFLINE:
            folder = Path(snapshot_download(base.name, revision=base.revision, local_files_only=True))
            names, commit = {path.name for path in folder.iterdir()}, folder.name
        else:
            info = HfApi().model_info(base.name, revision=base.revision, timeout=30)
            if info.sha is None:
                raise DataError(f"{said}: the hub names no commit for it; give a local folder")
            names, commit = {file.rfilename for file in info.siblings or ()}, info.sha
            check_names(names, said)
            folder = Path(snapshot_download(base.name, revision=commit, allow_patterns=list(SMALL)))
    except LocalEntryNotFoundError:
        raise DataError(
            f"{said} is not in the Hugging Face cache, and HF_HUB_OFFLINE is set; download it first or give a local folder"
        ) from None
    except RevisionNotFoundError:
        raise DataError(f"{said}: {base.revision!r} is no commit, tag or branch of {base.name!r} on the hub; mend it") from None
    except (RepositoryNotFoundError, HFValidationError):
        raise DataError(f"{said} is no model on the hub; mend the name, or begin the path of a folder with / or ./") from None
    except (HTTPError, OSError) as error:
        raise DataError(f"{said}: the hub cannot be reached ({first_line(error)}); go online or give a local folder") from None
    check_names(names, said)
    weight_files(folder, names, said)
    check_settings(folder, said)
    return ModelCommit(name=base.name, asked=base.revision, commit=commit, licence=licence_of(folder))


def fetched(name: str, commit: str, said: str) -> Path:
    """The folder of the model in the cache, fetched where it is not; what is there already is not fetched again."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=commit, allow_patterns=list(FETCHED)))
    except OSError as error:
        raise DataError(f"{said} cannot be fetched ({first_line(error)}); go online and run the same command again") from None
