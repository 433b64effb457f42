"""Detectors by import path, images from files, and what a detector may return."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.detector import DetectConfig, load_detector, read_image, to_row
from pipeline.errors import ConfigError, InputError
from pipeline.storage import to_uri
from tests.pipeline.detectors import Squares, like_detectron2, squares

DETECTORS = "tests.pipeline.detectors"


def test_functions_and_classes_are_loaded() -> None:
    assert load_detector(DetectConfig(callable=f"{DETECTORS}:squares")) is squares
    found = load_detector(DetectConfig(callable=f"{DETECTORS}:Squares", arguments={"score": 0.5}))
    assert isinstance(found, Squares)
    assert found.score == 0.5


@pytest.mark.parametrize(
    ("path", "arguments", "message"),
    [
        ("nosuchmodule:x", {}, "ModuleNotFoundError"),
        (f"{DETECTORS}:nothing", {}, "AttributeError"),
        (f"{DETECTORS}:NUMBER", {}, "expected a callable"),
        (f"{DETECTORS}:squares", {"score": 1}, "only a class"),
        (f"{DETECTORS}:Squares", {"scores": 1}, "unexpected keyword argument 'scores'"),
    ],
)
def test_what_cannot_be_loaded_is_refused(path: str, arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_detector(DetectConfig(callable=path, arguments=arguments))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"callable": "squares"}, "import path module:callable"),
        ({"callable": ":squares"}, "import path module:callable"),
        ({"callable": "a:b", "batch_images": 0}, "--detect.batch_images: expected >= 1, got 0"),
        ({"callable": "a:b", "gpus": -1}, "--detect.gpus: expected >= 0"),
    ],
)
def test_settings_are_checked(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DetectConfig(**settings)


def test_images_are_rgb_and_upright(tmp_path: Path) -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[0, 0] = (255, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by 180 degrees
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path, exif=exif)
    found = read_image(to_uri(str(path)))
    assert (found.shape, found.dtype) == ((4, 6, 3), np.uint8)
    assert found[3, 5].tolist() == [255, 0, 0]
    Image.fromarray(pixels[..., 0]).save(tmp_path / "gray.png")
    assert read_image(to_uri(str(tmp_path / "gray.png"))).shape == (4, 6, 3)


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"a\.png: expected an image"):
        read_image(to_uri(str(tmp_path / "a.png")))


def test_without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install Pillow"):
        read_image("file:///a.png")


def test_instances_of_detectron2_are_read_by_their_fields() -> None:
    image = np.zeros((5, 5, 3), np.uint8)
    image[1:4, 1:4] = 9
    [found] = like_detectron2([image])
    for result in (found, found["instances"]):
        row = to_row(result, "a.png")
        assert sorted(row) == ["boxes", "category_ids", "masks", "scores"]
        assert row["boxes"].shape == (2, 4)


@pytest.mark.parametrize("result", [None, {"boxes": []}, [1]])
def test_results_without_masks_are_refused(result: object) -> None:
    with pytest.raises(InputError, match=r"a\.png: expected of the detector a dict with 'masks'"):
        to_row(result, "a.png")
