"""Where alerts of this home go: one setting, readable by its owner only, since an address may hold a password."""

import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from tasks.record.errors import ConfigError
from tasks.record.files import read_json, write_json
from tasks.services.records import PRIVATE_FILE, services_folder

Kind = Literal["webhook", "slack", "email"]
FORMS: dict[Kind, str] = {
    "webhook": r"https?://.+",
    "slack": r"https://hooks\.slack(-gov)?\.com/services(/[A-Za-z0-9]+){3}/?",
    "email": r"mailtos?://.+",
}
EXAMPLES: dict[Kind, str] = {
    "webhook": "https://HOST/PATH",
    "slack": "https://hooks.slack.com/services/A/B/C",
    "email": "mailtos://USER:PASSWORD@SMTP-HOST?from=ADDRESS&to=ADDRESS",
}


class Channel(BaseModel):
    model_config = ConfigDict(frozen=True)

    kind: Kind
    url: str

    @property
    def text(self) -> str:
        """Without what is secret in it."""
        return f"{self.kind} at {urlsplit(self.url).hostname}"


def checked_channel(kind: Kind, url: str) -> Channel:
    """Raises ConfigError for an address of another kind, without repeating it, as it may hold a password."""
    try:
        parts = urlsplit(url)
        known = re.fullmatch(FORMS[kind], url) is not None and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise ConfigError(f"--{kind} was given no address of that kind; write it as {EXAMPLES[kind]}")
    return Channel(kind=kind, url=url)


def channel_file(home: Path) -> Path:
    return services_folder(home) / "alerts.json"


def read_channel(home: Path) -> Channel | None:
    """None where alerts are off."""
    path = channel_file(home)
    return Channel.model_validate(read_json(path)) if path.exists() else None


def keep_channel(home: Path, channel: Channel | None) -> None:
    if channel is None:
        channel_file(home).unlink(missing_ok=True)
    else:
        write_json(channel_file(home), channel, mode=PRIVATE_FILE)
