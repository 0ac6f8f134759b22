import socketserver
import threading

import pytest
from prefect.blocks.abstract import NotificationError

from tasks.services.mail_block import Mail

ANSWERS = {b"DATA": b"354 go on\r\n", b"QUIT": b"221 bye\r\n"}


@pytest.fixture
def smtp():
    """The port of a mail server (RFC 5321) that takes what it gets, and the lines of it."""
    lines = []

    class Talk(socketserver.StreamRequestHandler):
        def handle(self):
            self.wfile.write(b"220 here\r\n")
            inside = False
            for line in self.rfile:
                lines.append(line.decode().rstrip())
                inside = (inside or line[:4].upper() == b"DATA") and line != b".\r\n"
                if not inside or line[:4].upper() == b"DATA":
                    self.wfile.write(ANSWERS.get(line[:4].upper(), b"250 ok\r\n"))

    with socketserver.TCPServer(("127.0.0.1", 0), Talk) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], lines
        server.shutdown()


def test_a_message_arrives_at_the_mail_server(smtp):
    port, lines = smtp

    Mail(url=f"mailto://127.0.0.1:{port}?from=pretune@example.org&to=anna@example.org").notify("v7 waits", "pretune: topic")

    text = "\n".join(lines)
    assert "rcpt to:<anna@example.org>" in text.lower()
    assert "Subject: pretune: topic" in text and "v7 waits" in text


def test_a_mail_server_that_is_away_is_an_error():
    block = Mail(url="mailto://127.0.0.1:9?from=pretune@example.org&to=anna@example.org")

    with block.raise_on_failure(), pytest.raises(NotificationError):
        block.notify("v7 waits", "pretune: topic")
