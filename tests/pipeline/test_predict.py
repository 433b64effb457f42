"""Images to tables by way of a detector: what is kept, counted and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline import execution, flow, predict
from pipeline.config import CompactConfig, EncodeConfig, GateConfig, ReadConfig, RunConfig
from pipeline.dataset import load
from pipeline.detector import DetectConfig
from pipeline.errors import CompactionError, ConfigError, DeadlineError, GateError, InputError
from pipeline.publish import open_tables
from pipeline.storage import to_uri
from pipeline.verify import verify
from tests import oracle

DETECTORS = "tests.pipeline.detectors"


@pytest.fixture(autouse=True)
def here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work without Ray, also where other tests have started one, unless a test asks for it."""
    if "ray_local" not in request.fixturenames:
        monkeypatch.setattr(execution, "may_run_here", lambda config: True)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images by number, with as many squares of different colours."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(5):
        pixels = np.zeros((40, 50 + number, 3), np.uint8)
        for n in range(number):
            pixels[4:12, 9 * n + 1 : 9 * n + 8] = 40 * (n + 1)
        Image.fromarray(pixels).save(folder / f"{number:04d}.png")
    (folder / "notes.txt").write_text("no image")
    return folder


def run(images: Path, output: Path, detector: str = "squares", **steps: Any) -> flow.Outcome:
    detect = DetectConfig(
        callable=f"{DETECTORS}:{detector}",
        arguments=steps.pop("arguments", {}),
        batch_images=2,
        unit_images=3,
        **steps.pop("detect", {}),
    )
    config = CompactConfig(inputs=(str(images),), output=str(output), **steps)
    return predict.run(config, detect)


def tables(output: Path) -> dict[str, list[dict[str, Any]]]:
    found = open_tables(to_uri(str(output)), None)
    return {name: table.to_pyarrow_table().to_pylist() for name, table in found.items()}


def assert_is_what_was_drawn(images: Path, output: Path) -> None:
    found = {image.image_id: image.annotations() for image in load(str(output))}
    assert sorted(found) == ["0001", "0002", "0003", "0004"]
    for name, rows in found.items():
        assert len(rows) == int(name)
        drawn = np.zeros((40, 50 + int(name)), bool)
        for one in rows:
            rle = one["segmentation"]
            drawn |= oracle.decode(rle["size"], rle["counts"].encode())
        pixels = np.array(Image.open(images / f"{name}.png"))
        np.testing.assert_array_equal(drawn, pixels.any(axis=2))


@pytest.mark.parametrize("detector", ["squares", "like_detectron2"])
def test_few_images_are_done_here(images: Path, tmp_path: Path, detector: str) -> None:
    outcome = run(images, tmp_path / "out", detector, encode=EncodeConfig(encoding="crack"))
    assert outcome.state == "published"
    fates = {"read": 20, "kept": 10, "merged": 10, "filtered": 0, "rejected": 0}
    assert outcome.report["rows"] == fates
    assert outcome.report["plan"]["units"] == 2
    assert_is_what_was_drawn(images, tmp_path / "out")
    lineage = tables(tmp_path / "out")["lineage"]
    assert {row["source"] for row in lineage} <= {to_uri(str(p)) for p in images.glob("*.png")}
    assert sorted(row["source_row"] for row in lineage if row["image_id"] == "0003") == [1, 3, 5]
    again = run(images, tmp_path / "out", detector, encode=EncodeConfig(encoding="crack"))
    assert again.state == "already"


def test_the_result_verifies_but_for_its_sources(images: Path, tmp_path: Path) -> None:
    run(images, tmp_path / "out")
    findings = verify(str(tmp_path / "out"), is_all=True)
    assert findings.problems == []
    assert any("the rows of its sources are not known" in note for note in findings.notes)


def test_names_are_integers_on_request(images: Path, tmp_path: Path) -> None:
    run(images, tmp_path / "out", read=ReadConfig(id_mode="int"))
    assert {row["image_id"] for row in tables(tmp_path / "out")["compacted"]} == {1, 2, 3, 4}


def test_another_detector_is_another_run(images: Path, tmp_path: Path) -> None:
    names = [
        run(images, tmp_path / "out", "Squares", arguments=arguments, dry_run=True).run_id
        for arguments in ({}, {"score": 0.5})
    ]
    names.append(run(images, tmp_path / "out", dry_run=True).run_id)
    assert len(set(names)) == 3
    assert not (tmp_path / "out").exists()


def test_rows_that_cannot_be_used_are_rejected(images: Path, tmp_path: Path) -> None:
    outcome = run(images, tmp_path / "out", "Squares", arguments={"score": float("inf")})
    assert outcome.report["rows"]["rejected"] == 20
    rejects = tables(tmp_path / "out")["rejects"]
    assert {row["code"] for row in rejects} == {"SCORE"}
    assert {row["source"].rsplit("/", 1)[1] for row in rejects} == {
        f"000{n}.png" for n in range(1, 5)
    }


@pytest.mark.parametrize(
    ("detector", "error", "message"),
    [
        ("too_few", InputError, "expected a list of 2 results"),
        ("no_masks", InputError, r"0000\.png: expected of the detector a dict with 'masks'"),
        ("uneven", InputError, "expected results of the same names"),
        ("failing", CompactionError, r"0000\.png to .*0001\.png: .*failing failed: RuntimeError"),
    ],
)
def test_a_detector_that_does_otherwise_is_refused(
    images: Path, tmp_path: Path, detector: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(images, tmp_path / "out", detector)
    assert not (tmp_path / "out" / "compacted").exists()


def test_a_deadline_ends_a_detector_that_does_not(images: Path, tmp_path: Path) -> None:
    with pytest.raises(DeadlineError, match=r"with 0 of 2 units .*the same command starts over"):
        run(images, tmp_path / "out", "endless", run=RunConfig(deadline="0.01s"))
    assert not (tmp_path / "out" / "compacted").exists()


def test_settings_without_effect_are_refused(images: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--read\.format: expected none"):
        run(images, tmp_path / "out", read=ReadConfig(format="parquet"))


def test_names_that_are_no_ids_are_refused(images: Path, tmp_path: Path) -> None:
    for name in ("in/a/x.png", "in/b/x.png"):
        (tmp_path / name).parent.mkdir(parents=True)
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / name)
    with pytest.raises(InputError, match="images of different names"):
        run(tmp_path / "in", tmp_path / "out")
    with pytest.raises(InputError, match="expected a name of digits"):
        run(tmp_path / "in" / "a", tmp_path / "out", read=ReadConfig(id_mode="int"))


def test_through_ray(ray_local: None, images: Path, tmp_path: Path) -> None:
    outcome = run(images, tmp_path / "out", "Squares", arguments={"score": 0.7})
    assert outcome.report["rows"]["kept"] == 10
    assert_is_what_was_drawn(images, tmp_path / "out")


def test_a_broken_gate_publishes_nothing_and_leaves_the_page(images: Path, tmp_path: Path) -> None:
    with pytest.raises(GateError, match="merged_fraction"):
        run(images, tmp_path / "out", gate=GateConfig(max_merged_fraction=0.1))
    assert not (tmp_path / "out" / "compacted" / "_delta_log").exists()
    (page,) = (tmp_path / "out" / "reports").glob("*/report.html")
    assert "Gate broken, nothing was published" in page.read_text()
