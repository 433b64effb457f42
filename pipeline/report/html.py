"""Templates -> pages of one file: own style, no script, nothing that is loaded from elsewhere.

Needs the packages of ``maskpress[report]``.
"""

from __future__ import annotations

import base64
import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemBytecodeCache, FileSystemLoader, StrictUndefined
from jinja2.bccache import Bucket
from markupsafe import Markup

from pipeline.report import charts, words

FOLDER = Path(__file__).resolve().parent


def render(template: str, **values: Any) -> str:
    """Return a page.

    Parameters
    ----------
    template : str
        Name of a template in this folder. What it shows is escaped, but for `Markup`.
    **values
        What the template names; all of them must be given.

    Returns
    -------
    str
        HTML whose policy allows its own style and images that are in it, by a hash and as data.
    """
    style = FOLDER.joinpath("page.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment: Any = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        bytecode_cache=_kept_templates(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"bytes": words.human_bytes, "count": _count, "s": words.seconds}
    environment.filters |= {"dec": words.decimals, "name_of": words.name_of}
    environment.filters["percent_of"] = words.percent
    environment.filters |= {"bar": charts.bar, "signed": words.signed_percent, "clip": words.clip}
    environment.filters |= {"change_to": words.change}
    page = environment.get_template(template)
    return page.render(style=Markup(style), style_digest=Markup(digest), **values)


class _KeptTemplates(FileSystemBytecodeCache):
    """Compiled templates on disk, by a hash of their source; where that fails, without them."""

    def dump_bytecode(self, bucket: Bucket) -> None:
        with suppress(OSError):
            super().dump_bytecode(bucket)


def _kept_templates() -> _KeptTemplates | None:
    """Return the templates that this user's runs have compiled: half of what a page costs."""
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(home) / "maskpress" / "templates"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # no such folder can be made, or nobody's home
        return None
    return _KeptTemplates(str(folder))


def _count(value: float) -> str:
    return f"{value:,}"
