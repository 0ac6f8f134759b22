"""The kind of Prefect block that sends alerts as e-mail.

Prefect has one for one company's service, or in a further package; the library that sends its other messages can do it too. The
server is what sends, so `prefect_server.py` imports this.
"""

from prefect.blocks.notifications import AppriseNotificationBlock
from pydantic import Field, SecretStr


class Mail(AppriseNotificationBlock):
    """Sends messages by a mail server."""

    _block_type_name = "pretune mail"
    _block_type_slug = "pretune-mail"

    url: SecretStr = Field(title="Address", description="mailtos://USER:PASSWORD@SMTP-HOST?from=ADDRESS&to=ADDRESS")
