import http.client
import json
import ssl
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from flows.__main__ import main
from tasks.services.alerts import read_channel


@pytest.fixture
def listener():
    """The address of a server that takes one path, and what it was sent."""
    bodies = []

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self):
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200 if self.path == "/secret" else 404)
            self.end_headers()

        def log_message(self, *_): ...

    server = HTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", bodies
    server.shutdown()
    server.server_close()


@pytest.fixture
def slack(tmp_path, monkeypatch):
    """What was sent to hooks.slack.com, which this machine's proxy takes for itself: (path, JSON) of each message."""
    name, key = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hooks.slack.com")]), ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.slack.com")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "slack.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    messages = []

    class Proxy(BaseHTTPRequestHandler):
        def do_CONNECT(self):
            assert self.path == "hooks.slack.com:443"
            self.send_response(200)
            self.end_headers()
            with context.wrap_socket(self.connection, server_side=True) as inside, inside.makefile("rwb") as file:
                method, path, _ = file.readline().split()
                length = int(http.client.parse_headers(file)["Content-Length"])
                messages.append((method.decode(), path.decode(), json.loads(file.read(length))))
                file.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

        def log_message(self, *_): ...

    server = HTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pem))
    yield messages
    server.shutdown()
    server.server_close()


def test_a_test_message_arrives_at_slack(home, slack, capsys):
    assert main(["alerts", "--slack", "https://hooks.slack.com/services/T1/B2/C3", "--test"]) == 0

    assert "sent a message to the slack at hooks.slack.com" in capsys.readouterr().out
    ((method, path, body),) = slack
    assert (method, path) == ("POST", "/services/T1/B2/C3")
    assert "pretune can reach you: this is a test of its alerts" in json.dumps(body)


def test_alerts_are_off_until_they_are_given_a_way(home, capsys):
    assert main(["alerts"]) == 0

    assert capsys.readouterr().out.startswith("alerts are off; `")


def test_a_way_is_kept_for_the_next_up_and_can_be_taken_away(home, capsys):
    assert main(["alerts", "--webhook", "https://example.org/secret"]) == 0

    said = capsys.readouterr().out
    assert "no server runs here: it takes effect with `" in said
    assert said.endswith("alerts go to a webhook at example.org\n")
    assert read_channel(home).url == "https://example.org/secret"

    assert main(["alerts", "--off"]) == 0
    assert read_channel(home) is None


def test_a_test_message_arrives(home, listener, capsys):
    url, bodies = listener

    assert main(["alerts", "--webhook", f"{url}/secret", "--test"]) == 0

    assert bodies == [{"text": "pretune can reach you: this is a test of its alerts", "what": "test"}]
    assert "sent a message to the webhook at 127.0.0.1" in capsys.readouterr().out


def test_a_test_message_that_is_not_taken_is_told_without_the_address(home, listener, capsys):
    url, _ = listener

    assert main(["alerts", "--webhook", f"{url}/hidden", "--test"]) == 2

    said = capsys.readouterr().err
    assert "the webhook at 127.0.0.1 did not take a message: Client error '404 Not Found'" in said
    assert "hidden" not in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--off", "--webhook", "https://a.org/x"],
            "more than one of --webhook, --slack, --email and --off was given; alerts have one",
        ),
        (["--test"], "--test has nowhere to go: alerts are off; set --webhook, --slack or --email with it"),
        (["--email", "anna@example.org"], "--email was given no address of that kind; write it as mailtos://"),
    ],
)
def test_what_makes_no_sense_is_refused(home, capsys, arguments, sentence):
    assert main(["alerts", *arguments]) == 2

    assert sentence in capsys.readouterr().err
    assert read_channel(home) is None
