"""Names of categories and of images' files; they come from data and are not trusted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from pipeline import storage
from pipeline.config import ReportConfig
from pipeline.errors import CompactionError, ConfigError
from pipeline.evaluate import Truth
from pipeline.plan import Plan
from pipeline.read.text import read_range, source_text
from pipeline.records import GroupSample
from pipeline.report.words import clip

PATTERNS = tuple(
    f"{{image_id{width}}}.{suffix}" for width in ("", ":012d") for suffix in ("jpg", "png", "jpeg")
)
"""Tried one after the other where no table names the image: 139.jpg, …, 000000000139.jpg, …"""

_FIELD = re.compile(r"\{image_id(?::0(\d{1,2})d)?\}")
_MAX_CHARS = 1000


class _Image(msgspec.Struct, gc=False):
    id: Any
    file_name: Any = None


class _Category(msgspec.Struct, gc=False):
    id: Any
    name: Any = None


class ImageFolder(NamedTuple):
    """Where images lie: ``--report.images``, and ``--report.image_names`` or None."""

    uri: str
    pattern: str | None


def find_folder(config: ReportConfig) -> ImageFolder | None:
    """Return the folder that the settings name, if they do.

    Raises
    ------
    ConfigError
        If it is not there.
    """
    if config.images is None:
        return None
    uri = storage.to_uri(config.images)
    if not storage.exists(uri):
        raise ConfigError(f"--report.images: {uri}: no such folder; check the path")
    return ImageFolder(uri, config.image_names)


def file_namer(
    folder: ImageFolder | None, plan: Plan, truth: Truth | None
) -> Callable[[list[GroupSample]], list[GroupSample]]:
    """Return what adds file names to groups; nothing is added where no folder is given."""
    if folder is None:
        return list
    return lambda samples: add_file_names(samples, plan, truth)


def add_file_names(
    samples: Sequence[GroupSample], plan: Plan, truth: Truth | None
) -> list[GroupSample]:
    """Return the groups with the file name of their image, where a table that was given has it.

    A row's own column ``file_name`` counts first, then the ground truth's images, then
    those of the annotation file that the row came from. A table that cannot be read
    names nothing.
    """
    wanted = {group.image_id for group in samples if not group.file_name}
    found: dict[int | str, str] = {}
    for images in _tables({group.source for group in samples}, plan, truth):
        for image_id, name in images:
            if isinstance(image_id, int | str) and isinstance(name, str) and image_id in wanted:
                found.setdefault(image_id, storage.redact(name))
    return [
        msgspec.structs.replace(group, file_name=group.file_name or found.get(group.image_id))
        for group in samples
    ]


def category_names(plan: Plan, truth: Truth | None, wanted: Iterable[str]) -> dict[str, str]:
    """Return the names of categories by id, where a table that was given has them.

    The ground truth's count first, then those of the inputs by URI. They are cut and
    cleaned by `pipeline.report.words.clip`; a table that cannot be read names nothing.
    """
    asked = set(wanted)
    found: dict[str, str] = {}

    def add(category_id: Any, name: Any) -> None:
        if isinstance(name, str) and str(category_id) in asked:
            found.setdefault(str(category_id), clip(name))

    if truth is not None:
        for one in truth.document["categories"]:
            if isinstance(one, dict):
                add(one.get("id"), one.get("name"))
    for uri in sorted(plan.contexts):
        for category in _part(uri, plan, "categories", _Category):
            add(category.id, category.name)
        if len(found) == len(asked):
            break
    return {name: found[name] for name in sorted(found)}


def _tables(
    sources: set[str], plan: Plan, truth: Truth | None
) -> Iterator[Iterator[tuple[Any, Any]]]:
    if truth is not None:
        images = truth.document["images"]
        yield ((image["id"], image.get("file_name")) for image in images)
    for uri in sorted(sources):
        yield ((image.id, image.file_name) for image in _part(uri, plan, "images", _Image))


def _part(uri: str, plan: Plan, name: str, kind: type[Any]) -> list[Any]:
    """Return a list that stands beside the rows of a file; none where it cannot be read."""
    context = plan.contexts.get(uri)
    if context is None or name not in context.ranges:
        return []
    try:
        data = read_range(source_text(uri, context), *context.ranges[name])
        return msgspec.json.decode(data, type=list[kind])
    except (CompactionError, msgspec.DecodeError):
        return []


def candidates(group: GroupSample, pattern: str | None) -> list[str]:
    """Return the names under which an image may lie in the folder, best first.

    Parameters
    ----------
    group : GroupSample
        `file_name` and `image_id` are read.
    pattern : str or None
        ``--report.image_names``; `PATTERNS` without it.
    """
    if group.file_name and pattern is None:
        return [group.file_name]
    found = [fill(one, group.image_id) for one in ([pattern] if pattern else PATTERNS)]
    return list(dict.fromkeys(name for name in found if name))


def fill(pattern: str, image_id: int | str) -> str:
    """Return a pattern with the image_id in it; "" where a number is asked for and it is none."""
    is_possible = True

    def value(match: re.Match[str]) -> str:
        nonlocal is_possible
        if match[1] is None:
            return str(image_id)
        is_possible &= isinstance(image_id, int) and image_id >= 0
        return f"{image_id:>0{int(match[1])}}" if is_possible else ""

    filled = _FIELD.sub(value, pattern)
    return filled if is_possible else ""


def why_unsafe(name: str) -> str:
    """Return why a name may lead out of the folder; "" where it cannot."""
    parts = name.split("/")
    if len(name) > _MAX_CHARS:
        return "it is too long"
    if any(part in ("", ".", "..") for part in parts):
        return "it is no plain path below the folder"
    if "::" in name or "\\" in name or re.match(r"[A-Za-z]:", name):
        return "it names another place"
    if any(ord(character) < 32 for character in name):
        return "it holds control characters"
    return ""
