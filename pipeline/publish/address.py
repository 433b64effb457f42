"""How Delta's own client finds and opens what fsspec finds through the environment."""

from __future__ import annotations

import os
import re

from pipeline.errors import ConfigError
from pipeline.storage import s3_endpoint

_DELTA_SCHEMES = {
    "file": "file", "s3": "s3", "s3a": "s3a", "gs": "gs", "gcs": "gs",
    "abfs": "abfs", "abfss": "abfss", "az": "az",
}  # fmt: skip

_AZURE_FIELDS = {
    "AZURE_STORAGE_ACCOUNT_NAME": "AccountName",
    "AZURE_STORAGE_ACCOUNT_KEY": "AccountKey",
    "AZURE_STORAGE_ENDPOINT": "BlobEndpoint",
    "AZURE_STORAGE_SAS_TOKEN": "SharedAccessSignature",
}


def delta_uri(uri: str) -> str:
    """Return how Delta's own client names a place: a plain path, or a URI of its schemes.

    Raises
    ------
    ConfigError
        If Delta cannot write there: other schemes, and local paths with a percent escape
        (it would decode it and then not find its own log).
    """
    scheme, _, rest = uri.partition("://")
    if scheme not in _DELTA_SCHEMES:
        raise ConfigError(
            f"{uri}: Delta tables cannot be written to {scheme}://; expected a local path or "
            f"one of {', '.join(f'{name}://' for name in _DELTA_SCHEMES)}"
        )
    if scheme == "file" and re.search("%[0-9A-Fa-f]{2}", rest):
        raise ConfigError(
            f"{uri}: Delta cannot write below a path with a percent escape; rename it"
        )
    return rest if scheme == "file" else f"{_DELTA_SCHEMES[scheme]}://{rest}"


def delta_options(uri: str) -> dict[str, str]:
    """Return the storage options that give Delta's client what fsspec takes from the environment.

    Both read the usual variables themselves; here is only what they read differently.
    Empty for local paths.
    """
    scheme, environ, options = uri.partition("://")[0], os.environ, dict[str, str]()
    if scheme in ("s3", "s3a"):
        endpoint = s3_endpoint()
        if endpoint:
            options["AWS_ENDPOINT_URL"] = endpoint
            options["AWS_ALLOW_HTTP"] = str(endpoint.startswith("http://")).lower()
        region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
        if region or endpoint:
            options["AWS_REGION"] = region or "us-east-1"
    elif scheme in ("abfs", "abfss", "az"):
        parts = environ.get("AZURE_STORAGE_CONNECTION_STRING", "").split(";")
        fields = {name: value for name, _, value in (part.partition("=") for part in parts)}
        for name, field in _AZURE_FIELDS.items():
            if field in fields:
                options[name] = fields[field]
        if options.get("AZURE_STORAGE_ENDPOINT", "").startswith("http://"):
            options["azure_allow_http"] = "true"
    elif scheme in ("gs", "gcs") and environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
        options["GOOGLE_APPLICATION_CREDENTIALS"] = environ["GOOGLE_APPLICATION_CREDENTIALS"]
    return options
