from __future__ import annotations

import os

import pytest

from pipeline.errors import ConfigError
from pipeline.publish.address import delta_options, delta_uri


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("file:///data/out", "/data/out"),
        ("file:///data/a b", "/data/a b"),
        ("file:///data/50%", "/data/50%"),
        ("s3://bucket/out", "s3://bucket/out"),
        ("gcs://bucket/out", "gs://bucket/out"),
        ("abfs://box@account/out", "abfs://box@account/out"),
    ],
)
def test_delta_uri(uri: str, expected: str) -> None:
    assert delta_uri(uri) == expected


@pytest.mark.parametrize("uri", ["memory://out", "https://host/out", "file:///data/a%20b"])
def test_delta_uri_refuses(uri: str) -> None:
    with pytest.raises(ConfigError, match="Delta"):
        delta_uri(uri)


@pytest.mark.parametrize(
    ("uri", "environment", "expected"),
    [
        ("file:///out", {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, {}),
        ("s3://b/out", {}, {}),
        ("s3://b/out", {"AWS_DEFAULT_REGION": "eu-west-1"}, {"AWS_REGION": "eu-west-1"}),
        (
            "s3://b/out",
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"},
            {
                "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
                "AWS_ALLOW_HTTP": "true",
                "AWS_REGION": "us-east-1",
            },
        ),
        (
            "s3a://b/out",
            {
                "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
                "AWS_ENDPOINT_URL_S3": "https://store:2",
                "AWS_REGION": "x",
            },
            {"AWS_ENDPOINT_URL": "https://store:2", "AWS_ALLOW_HTTP": "false", "AWS_REGION": "x"},
        ),
        (
            "gs://b/out",
            {"GOOGLE_APPLICATION_CREDENTIALS": "key.json"},
            {"GOOGLE_APPLICATION_CREDENTIALS": "key.json"},
        ),
        (
            "az://box/out",
            {
                "AZURE_STORAGE_CONNECTION_STRING": "DefaultEndpointsProtocol=http;AccountName=n;"
                "AccountKey=a2V5==;BlobEndpoint=http://127.0.0.1:1/n;"
            },
            {
                "AZURE_STORAGE_ACCOUNT_NAME": "n",
                "AZURE_STORAGE_ACCOUNT_KEY": "a2V5==",
                "AZURE_STORAGE_ENDPOINT": "http://127.0.0.1:1/n",
                "azure_allow_http": "true",
            },
        ),
    ],
)
def test_delta_options(
    uri: str,
    environment: dict[str, str],
    expected: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "AZURE_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert delta_options(uri) == expected
