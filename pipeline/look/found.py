"""What a look at an input finds, as a person and a machine are told."""

from __future__ import annotations

import msgspec

SHOWN_FILES = 100
"""Files that are listed one by one; all of them are counted."""

SHOWN_VALUES = 10
"""Categories and image sizes that are listed, the most frequent ones."""

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
"""Of areas, runs, bytes and scores: the least, 5 %, quartiles, 95 %, the largest."""


class FoundFile(msgspec.Struct, frozen=True):
    """A file that can be read; `images` is None where its scan did not see all of them."""

    uri: str
    format: str
    file_bytes: int
    rows: int
    images: int | None


class Problem(msgspec.Struct, frozen=True):
    """Something to know before a run.

    Attributes
    ----------
    kind : str
        ``file`` (cannot be read), ``inputs`` (do not go together), ``reject`` (rows that
        cannot be used) or ``counted`` (rows that can, with something to note).
    what : str
        The file, the code of the reject, or the name of the counter.
    count : int
        Files, or rows of those that were read.
    message : str
        Of the file, or of the first such row; empty for counters.
    """

    kind: str
    what: str
    count: int
    message: str = ""


class Part(msgspec.Struct, frozen=True):
    """How much was read, and on how much duplicates were looked for.

    Attributes
    ----------
    is_all : bool
        Whether all rows were read and looked at: then nothing is an estimate.
    read_rows, valid_rows : int
        Rows that were read, and those of them that can be used.
    rows, images : int
        Valid rows, of these images, among which duplicates were looked for.
    has_whole_images : bool
        Whether the rows of each image are all there; if not, more would merge.
    """

    is_all: bool
    read_rows: int
    valid_rows: int
    rows: int
    images: int
    has_whole_images: bool


class Masks(msgspec.Struct, frozen=True):
    """The valid rows that were read.

    Attributes
    ----------
    categories : int
        Distinct category ids, null not counted.
    top_categories : list of (id or None, rows)
        The most frequent.
    sizes : int
        Distinct image sizes.
    top_sizes : list of (height, width, rows)
        The most frequent, pixels.
    area, runs, string_bytes, score : list of float
        `QUANTILES` of pixels, run lengths, bytes of a COCO string, and scores; empty for none.
    without_score, crowds, empty : int
        Rows.
    extras : list of str
        Names and types of the columns that are carried through.
    """

    categories: int
    top_categories: list[tuple[int | None, int]]
    sizes: int
    top_sizes: list[tuple[int, int, int]]
    area: list[float]
    runs: list[float]
    string_bytes: list[float]
    score: list[float]
    without_score: int
    crowds: int
    empty: int
    extras: list[str]


class Forecast(msgspec.Struct, frozen=True):
    """What the main job would do with the same settings.

    Attributes
    ----------
    merged_fraction, filtered_fraction, rejected_fraction : float
        Shares, the first two of valid rows, the last of all rows.
    kept_rows : int
        Rows of COMPACTED.
    compacted_bytes, lineage_bytes : int
        Sizes of the tables' data files.
    ratio : float or None
        compacted_bytes over the bytes of the input.
    work_s : float
        Seconds of one CPU, from what the part took.
    time_s : float
        Seconds on the CPUs of this machine, with one look at all files; starting Ray, which an
        input of more than one unit needs, is not in it.
    cpus : int
        CPUs of this machine.
    units : int
        Units of work.
    is_shuffled : bool
        Whether rows of one image lie too far apart to be read together.
    """

    merged_fraction: float
    filtered_fraction: float
    rejected_fraction: float
    kept_rows: int
    compacted_bytes: int
    lineage_bytes: int
    ratio: float | None
    work_s: float
    time_s: float
    cpus: int
    units: int
    is_shuffled: bool


class Look(msgspec.Struct, frozen=True):
    """All that was found.

    Attributes
    ----------
    n_files, input_bytes, rows : int
        Of the files that can be read.
    formats : dict of str to int
        Files by format.
    id_type : str
        ``"int"`` or ``"string"``: image_id.
    images : int or None
        Distinct images; None where the scans cannot tell.
    files : list of FoundFile
        The first `SHOWN_FILES`.
    part, masks, forecast
        See there; None where there is no valid row to look at.
    problems : list of Problem
        Files first, then rejects, then counters.
    """

    n_files: int
    input_bytes: int
    rows: int
    formats: dict[str, int]
    id_type: str
    images: int | None
    files: list[FoundFile]
    part: Part
    masks: Masks | None
    forecast: Forecast | None
    problems: list[Problem]
