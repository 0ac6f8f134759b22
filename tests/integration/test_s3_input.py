"""Input from an S3 store (moto, on loopback): listed, identified without a download, cut into units and read."""

import gzip
import json
from pathlib import Path

import boto3
import pyarrow
import pyarrow.parquet
import pytest
import s3fs
from moto.server import ThreadedMotoServer

from tasks.config.data import TextSource
from tasks.data.inputs.sources import data_identity, files_listing
from tasks.data.sources.units import input_units
from tasks.record.errors import DataError
from tests.kit.reading import read_all

TEXTS = [f"document {n} of the bucket" for n in range(200)]


@pytest.fixture(scope="module")
def store():
    with pytest.MonkeyPatch.context() as patch:
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        try:
            host, port = server.get_host_and_port()
            for name, value in {
                "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            }.items():  # fmt: skip
                patch.setenv(name, value)
            s3fs.S3FileSystem.clear_instance_cache()
            client = boto3.client("s3")
            client.create_bucket(Bucket="corpus")
            yield client
        finally:
            server.stop()
            s3fs.S3FileSystem.clear_instance_cache()


def test_a_prefix_is_read_like_a_folder(store, tmp_path):
    lines = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS).encode()
    store.put_object(Bucket="corpus", Key="json/plain.jsonl", Body=lines)
    store.put_object(Bucket="corpus", Key="json/sub/packed.jsonl.gz", Body=gzip.compress(lines, mtime=0))
    store.put_object(Bucket="corpus", Key="json/README.md", Body=b"no part of it")
    found = read_all("jsonl", "s3://corpus/json")
    assert found.texts == TEXTS * 2
    assert found.documents[0].where == "plain.jsonl line 1"
    assert found.meter.fraction == 1.0
    parts = read_all("jsonl", "s3://corpus/json/*.jsonl", unit_bytes=1000)
    assert parts.texts == TEXTS
    assert len(input_units(TextSource(source="jsonl", path="s3://corpus/json"), 1000)) > 5

    source = TextSource(source="jsonl", path="s3://corpus/json")
    identity = data_identity(tmp_path, source)
    assert identity["files"] == 2
    assert identity["bytes"] == len(lines) + len(gzip.compress(lines, mtime=0))
    listed = files_listing(tmp_path, source)
    assert [entry["location"] for entry in listed] == ["s3://corpus/json/plain.jsonl", "s3://corpus/json/sub/packed.jsonl.gz"]
    store.put_object(Bucket="corpus", Key="json/plain.jsonl", Body=lines.replace(b"bucket", b"basket"))
    assert data_identity(tmp_path, source)["versions_sha256"] != identity["versions_sha256"]


def test_row_groups_of_a_remote_parquet_file(store, tmp_path):
    path: Path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": TEXTS, "n": range(200)}), path, row_group_size=20)
    store.put_object(Bucket="corpus", Key="tables/a.parquet", Body=path.read_bytes())
    parts = read_all("parquet", "s3://corpus/tables", unit_bytes=1000)
    assert parts.texts == TEXTS
    assert parts.documents == read_all("parquet", path).documents


def test_what_is_wrong_is_said_without_a_traceback(store):
    with pytest.raises(DataError, match=r"data\.path='s3://corpus/gone' does not exist or matches no file"):
        read_all("jsonl", "s3://corpus/gone")
    with pytest.raises(DataError, match=r"data\.path='s3://nobody-has-this/x' (does not exist|cannot be listed)"):
        read_all("jsonl", "s3://nobody-has-this/x")
    store.put_object(Bucket="corpus", Key="cut/a.jsonl.gz", Body=gzip.compress(b'{"text": "a"}\n')[:-3])
    with pytest.raises(
        DataError, match=r"s3://corpus/cut/a\.jsonl\.gz is cut off: its gzip data end in the middle at byte \d+"
    ):
        read_all("jsonl", "s3://corpus/cut")


def test_a_store_that_cannot_be_reached_is_said(store, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(DataError, match=r"data\.path='s3://corpus/json' cannot be listed \(.*127\.0\.0\.1:9.*\); mend the URL"):
        read_all("jsonl", "s3://corpus/json")
