"""What `alerts` does: says, sets or tries where messages go when something needs a person."""

import argparse

from flows.report import own_command
from tasks.record.errors import ConfigError, StageError
from tasks.record.layout import home
from tasks.services.alerts import FORMS, Channel, checked_channel, keep_channel, read_channel
from tasks.services.servers import use_running_server


def alerts(asked: argparse.Namespace) -> int:
    given = [checked_channel(kind, url) for kind in FORMS if (url := getattr(asked, kind)) is not None]
    if len(given) + asked.off > 1:
        raise ConfigError("more than one of --webhook, --slack, --email and --off was given; alerts have one way to go")
    if given or asked.off:
        change(given[0] if given else None)
    channel = read_channel(home())
    if asked.test:
        attempt(channel)
        return 0
    print(
        f"alerts go to a {channel.text}"
        if channel
        else f"alerts are off; `{own_command()} alerts --help` says how to turn them on"
    )
    return 0


def change(channel: Channel | None) -> None:
    keep_channel(home(), channel)
    if use_running_server(home()):
        from flows.automations import register_alerts

        register_alerts(home())
    else:
        print(f"no server runs here: it takes effect with `{own_command()} up`")


def attempt(channel: Channel | None) -> None:
    """Raises StageError with what the other side said, where the message did not arrive."""
    import httpx
    from prefect.blocks.abstract import NotificationError

    from flows.automations import send_test

    if channel is None:
        raise ConfigError("--test has nowhere to go: alerts are off; set --webhook, --slack or --email with it")
    try:
        send_test(channel)
    except (httpx.HTTPError, NotificationError, OSError, ValueError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0].replace(channel.url, channel.text)
        raise StageError(f"the {channel.text} did not take a message: {said}; give another address") from None
    print(f"sent a message to the {channel.text}")
