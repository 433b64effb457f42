"""detectron2's models, with a stand-in for detectron2: it is not installed here."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.errors import ConfigError
from pipeline.interop.detectron2 import Predictor


class FakePredictor:
    """What of DefaultPredictor is used: a model that finds all that is bright."""

    input_format = "BGR"

    def __init__(self, settings: Any) -> None:
        self.settings = settings
        self.aug = SimpleNamespace(get_transform=lambda image: self)

    def apply_image(self, image: Any) -> Any:
        return image

    def model(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        assert not torch.is_grad_enabled()
        return [{"instances": (one["image"], one["height"], one["width"])} for one in inputs]


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Any:
    model = SimpleNamespace(ROI_HEADS=SimpleNamespace())
    found = SimpleNamespace(MODEL=model, files=[])
    found.merge_from_file = found.files.append
    zoo = SimpleNamespace(
        get_config_file=lambda name: f"zoo/{name}", get_checkpoint_url=lambda name: f"url/{name}"
    )
    modules = {
        "detectron2": SimpleNamespace(model_zoo=zoo),
        "detectron2.config": SimpleNamespace(get_cfg=lambda: found),
        "detectron2.engine": SimpleNamespace(DefaultPredictor=FakePredictor),
        "detectron2.model_zoo": zoo,
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return found


def test_models_of_the_zoo_by_name(settings: Any) -> None:
    Predictor("mask_rcnn.yaml", score_threshold=0.25, device="cpu")
    assert settings.files == ["zoo/mask_rcnn.yaml"]
    assert settings.MODEL.WEIGHTS == "url/mask_rcnn.yaml"
    assert settings.MODEL.ROI_HEADS.SCORE_THRESH_TEST == 0.25
    assert settings.MODEL.DEVICE == "cpu"


def test_models_of_ones_own(settings: Any, tmp_path: Any) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("")
    Predictor(str(path), weights="model.pth")
    assert settings.files == [str(path)]
    assert settings.MODEL.WEIGHTS == "model.pth"


def test_images_reach_the_model_in_its_order_of_colours(settings: Any) -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    image[..., 0] = 200
    [found] = Predictor("mask_rcnn.yaml")([image])
    pixels, height, width = found["instances"]
    assert (tuple(pixels.shape), pixels.dtype, height, width) == ((3, 4, 6), torch.float32, 4, 6)
    assert pixels[2].eq(200).all()
    assert pixels[:2].eq(0).all()


def test_without_detectron2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "detectron2", None)
    with pytest.raises(ConfigError, match="expected detectron2 to be installed"):
        Predictor("mask_rcnn.yaml")
