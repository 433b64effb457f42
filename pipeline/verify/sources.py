"""Kept rows against the rows of the inputs that they came from, read again by the plan."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import storage
from pipeline.arrow import pc
from pipeline.clean import clean_rows
from pipeline.columns import one_chunk, size_hw, to_strings
from pipeline.config import CleanConfig, DedupConfig, EncodeConfig, ReadConfig
from pipeline.encode import COPIED
from pipeline.errors import InputError, SchemaError
from pipeline.masks import measure, overlap, rle
from pipeline.plan import Plan, parse_extras
from pipeline.read import Slice, read
from pipeline.verify.findings import Findings

_BATCH_BYTES = 256 << 20

_COPIED = tuple(name for name in COPIED if name not in ("source", "source_row"))


class Settings(msgspec.Struct, frozen=True):
    """The steps' settings that a file's footer holds, as far as they are needed here."""

    read: ReadConfig
    clean: CleanConfig
    dedup: DedupConfig
    encode: EncodeConfig


class SourceCheck:
    """Gathers kept rows and compares them, a batch at a time, with their sources.

    Memory: a batch of 256 MiB and one slice of the input. Every slice with a row of
    the batch is read, so where the inputs are not sorted by image_id, each batch
    reads all of them.
    """

    def __init__(self, plan: Plan, settings: Settings, findings: Findings) -> None:
        self._plan = plan
        self._settings = settings
        self._findings = findings
        self._names = (*_COPIED, *parse_extras(plan.extras).names)
        self._batch: list[pa.Table] = []
        self._uris = {file.uri for file in plan.inventory}
        for file in plan.inventory if storage.changed_files(plan.inventory) else []:
            change = storage.changed_files([file])
            if change:
                self._uris.discard(file.uri)
                findings.notes.append(f"rows of a source were not compared with it: {change[0]}")

    def add(self, where: str, first_row: int, rows: pa.Table, counts: pa.Array) -> None:
        """Take the rows of a row group, with their masks as COCO strings."""
        own = rows.select(
            [*self._names, "encoding", "fidelity", "n_merged", "source", "source_row"]
        )
        own = own.append_column("mask", counts)
        own = own.append_column("where", pa.repeat(where, len(rows)).dictionary_encode())
        own = own.append_column("row", pa.array(first_row + np.arange(len(rows))))
        self._batch.append(own)
        if sum(table.nbytes for table in self._batch) > _BATCH_BYTES:
            self.finish()

    def finish(self) -> None:
        """Compare what was gathered since the last time."""
        if not self._batch:
            return
        rows = pa.concat_tables(self._batch).unify_dictionaries()
        self._batch = []
        for uri in pc.unique(rows["source"]).to_pylist():
            if uri in self._uris:
                own = rows.filter(pc.equal(rows["source"], uri))
                self._compare_source(uri, own.sort_by("source_row").combine_chunks())

    def _compare_source(self, uri: str, kept: pa.Table) -> None:
        source_row_M = kept["source_row"].to_numpy()
        is_read_M = np.zeros(len(kept), bool)
        for unit in self._plan.read_units:
            for part in unit.slices:
                ends = [part.first_row, part.first_row + part.n_rows]
                start, stop = np.searchsorted(source_row_M, ends)
                if part.uri == uri and start < stop:
                    is_read_M[start:stop] = True
                    self._compare_slice(part, kept.slice(start, stop - start).combine_chunks())
        self._report(kept, ~is_read_M, f"a row that {uri} has", "source_row")

    def _compare_slice(self, part: Slice, kept: pa.Table) -> None:
        plan, settings = self._plan, self._settings
        try:
            result = read(part, plan.contexts[part.uri], settings.read, plan.id_type)
        except (InputError, SchemaError) as error:
            self._findings.notes.append(f"rows of a source were not compared with it: {error}")
            return
        instances = clean_rows(result.instances, settings.clean)
        source_row_S = instances["source_row"].to_numpy()
        order_S = np.argsort(source_row_S, kind="stable")
        wanted_M = kept["source_row"].to_numpy()
        place_M = np.searchsorted(source_row_S[order_S], wanted_M)
        is_there_M = place_M < len(order_S)
        place_M = order_S[np.where(is_there_M, place_M, 0)] if len(order_S) else place_M
        if len(order_S):
            is_there_M &= source_row_S[place_M] == wanted_M
        self._report(kept, ~is_there_M, f"a row that is usable in {part.uri}", "source_row")
        kept = kept.filter(pa.array(is_there_M)).combine_chunks()
        origin = instances.take(pa.array(place_M[is_there_M])).combine_chunks()
        self._findings.count("rows compared with their source", len(kept))
        for name in self._names:
            self._compare_column(kept, origin, name)
        self._compare_masks(kept, origin)

    def _compare_column(self, kept: pa.Table, origin: pa.Table, name: str) -> None:
        ours: Any = one_chunk(kept[name])
        theirs: Any = pa.nulls(len(kept), ours.type)
        if name in origin.column_names:
            theirs = one_chunk(origin[name]).cast(ours.type)
        if ours.equals(theirs):
            return
        pairs = list(zip(ours.to_pylist(), theirs.to_pylist(), strict=True))
        is_bad_M = np.array([not _is_same(one, other) for one, other in pairs], bool)
        self._report(
            kept, is_bad_M, f"{name} of its source row", name, [str(pair[1]) for pair in pairs]
        )

    def _compare_masks(self, kept: pa.Table, origin: pa.Table) -> None:
        """Compare the masks that merging left alone: strings, or the IoU where it was lossy."""
        is_alone_M = kept["n_merged"].to_numpy() == 0
        is_own_M = is_alone_M | (self._settings.dedup.merge == "best")
        is_lossy_M = pc.equal(one_chunk(kept["encoding"]), "polygon").to_numpy(zero_copy_only=False)
        is_equal_M = pc.equal(one_chunk(kept["mask"]), one_chunk(origin["counts"])).to_numpy(
            zero_copy_only=False
        )
        expected = "the mask of its source row"
        self._report(kept, is_own_M & ~is_lossy_M & ~is_equal_M, expected, "mask")
        self._findings.count("masks compared with their source", int(is_own_M.sum()))
        lossy_L = np.flatnonzero(is_own_M & is_lossy_M & _has_same_size(kept, origin))
        if len(lossy_L):
            iou_M = np.ones(len(kept))
            iou_M[lossy_L] = _matched_iou(
                kept.take(pa.array(lossy_L)), origin.take(pa.array(lossy_L))
            )
            is_off_M = np.zeros(len(kept), bool)
            is_off_M[lossy_L] = iou_M[lossy_L] != kept["fidelity"].to_numpy()[lossy_L]
            shown = [repr(float(value)) for value in iou_M]
            expected = "fidelity to be the IoU of the stored mask with that of its source row"
            self._report(kept, is_off_M, expected, "fidelity", shown)

    def _report(
        self,
        kept: pa.Table,
        is_bad_M: NDArray[np.bool_],
        expected: str,
        name: str,
        theirs: list[str] | None = None,
    ) -> None:
        """Add a problem for the bad rows; `theirs` is what the source says."""
        if not is_bad_M.any():
            return
        first = int(np.flatnonzero(is_bad_M)[0])
        row = {key: kept[key][first].as_py() for key in ("where", "row", "source", "source_row")}
        place = f"row {row['source_row']} of {row['source']}"
        self._findings.add_rows(
            row["where"],
            is_bad_M,
            f"{expected}, {place}" + (f", {theirs[first]}" if theirs else ""),
            lambda bad: f"{name} {str(kept[name][bad].as_py())[:80]}",
            kept["row"].to_numpy(),
        )


def _has_same_size(kept: pa.Table, origin: pa.Table) -> NDArray[np.bool_]:
    return (size_hw(kept) == size_hw(origin)).all(axis=1)


def _matched_iou(kept: pa.Table, origin: pa.Table) -> NDArray[np.float64]:
    """Return the IoU of each stored mask with the mask of the same row of the source."""
    n_rows = len(kept)
    ours, theirs = to_strings(kept["mask"]), to_strings(origin["counts"])
    hw_N2 = np.concatenate([size_hw(kept), size_hw(origin)])
    batch = rle.from_coco(rle.concat_strings([ours, theirs]), hw_N2)
    i_P = np.arange(n_rows)
    area_N = measure.area(batch)
    shared_P = overlap.matched_intersection(batch, i_P, i_P + n_rows)
    return overlap.matched_iou(shared_P, area_N[:n_rows], area_N[n_rows:])


def _is_same(one: Any, other: Any) -> bool:
    return one == other or (one != one and other != other)
