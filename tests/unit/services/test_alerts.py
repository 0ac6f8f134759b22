import pytest

from tasks.record.errors import ConfigError
from tasks.services.alerts import Channel, channel_file, checked_channel, keep_channel, read_channel

ADDRESSES = {
    "webhook": "http://127.0.0.1:9/secret",
    "slack": "https://hooks.slack.com/services/A/B/secret",
    "email": "mailtos://anna:secret@smtp.example.org?to=anna@example.org",
}


@pytest.mark.parametrize("kind", ADDRESSES)
def test_a_channel_is_kept_for_its_owner_only_and_told_without_its_secret(tmp_path, kind):
    channel = checked_channel(kind, ADDRESSES[kind])

    keep_channel(tmp_path, channel)

    assert read_channel(tmp_path) == channel
    assert channel_file(tmp_path).stat().st_mode & 0o777 == 0o600
    assert channel.text.startswith(f"{kind} at ") and "secret" not in channel.text

    keep_channel(tmp_path, None)
    keep_channel(tmp_path, None)

    assert read_channel(tmp_path) is None


@pytest.mark.parametrize(
    ("kind", "url", "example"),
    [
        ("webhook", "example.org/secret", "https://HOST/PATH"),
        ("webhook", "http://[secret", "https://HOST/PATH"),
        ("webhook", "http://host:secret/", "https://HOST/PATH"),
        ("slack", "https://example.org/services/A/B/secret", "https://hooks.slack.com/services/A/B/C"),
        ("slack", "https://hooks.slack.com/services/A/secret", "https://hooks.slack.com/services/A/B/C"),
        ("slack", "mailtos://a:secret@host", "https://hooks.slack.com/services/A/B/C"),
        ("email", "anna:secret@example.org", "mailtos://USER:PASSWORD@SMTP-HOST?from=ADDRESS&to=ADDRESS"),
    ],
)
def test_an_address_of_another_kind_is_refused_without_being_repeated(kind, url, example):
    with pytest.raises(ConfigError) as refused:
        checked_channel(kind, url)

    assert str(refused.value) == f"--{kind} was given no address of that kind; write it as {example}"


def test_the_address_of_a_mail_server_is_all_that_is_told():
    assert Channel(kind="email", url=ADDRESSES["email"]).text == "email at smtp.example.org"
