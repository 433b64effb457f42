"""detectron2's models as a detector for `jobs/predict_and_compact.py`.

detectron2 is no dependency: most tests call this with a stand-in for it. Where it is
installed, a small model of its own, its weights drawn at random, runs through the whole job
and must keep the masks that it gives itself (tests/pipeline/interop/test_detectron2_model.py).
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError

INSTALL = "https://detectron2.readthedocs.io/en/latest/tutorials/install.html"


class Predictor:
    """A model of detectron2 on a batch of images, prepared as its DefaultPredictor does.

    Parameters
    ----------
    config : str
        A config file, or the name of one in detectron2's model zoo
        (``COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml``).
    weights : str, optional
        A checkpoint; default the config's own, or the model zoo's.
    score_threshold : float
        Lowest score of an instance.
    device : str, optional
        Default the config's own, cuda as a rule.

    Raises
    ------
    ConfigError
        If detectron2 is not installed.
    """

    def __init__(
        self,
        config: str,
        weights: str | None = None,
        score_threshold: float = 0.05,
        device: str | None = None,
    ) -> None:
        try:
            names = ("config", "engine", "model_zoo")
            modules: list[Any] = [importlib.import_module(f"detectron2.{name}") for name in names]
        except ImportError as error:
            raise ConfigError(
                f"expected detectron2 to be installed, got: {error}; see {INSTALL}"
            ) from error
        d2_config, d2_engine, model_zoo = modules
        settings = d2_config.get_cfg()
        is_file = config.endswith((".yaml", ".yml")) and os.path.isfile(config)
        settings.merge_from_file(config if is_file else model_zoo.get_config_file(config))
        if weights is None and not is_file:
            weights = model_zoo.get_checkpoint_url(config)
        if weights is not None:
            settings.MODEL.WEIGHTS = weights
        settings.MODEL.ROI_HEADS.SCORE_THRESH_TEST = score_threshold
        if device is not None:
            settings.MODEL.DEVICE = device
        self._predictor = d2_engine.DefaultPredictor(settings)

    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[Any]:
        """Return what the model finds in images, uint8 (H, W, 3) RGB, as its own dicts."""
        import torch

        predictor = self._predictor
        inputs: list[dict[str, Any]] = []
        for image in images:
            height, width = image.shape[:2]
            ordered = image if predictor.input_format == "RGB" else image[:, :, ::-1]
            resized = predictor.aug.get_transform(ordered).apply_image(ordered)
            pixels = torch.as_tensor(resized.astype("float32").transpose(2, 0, 1))
            inputs.append({"image": pixels, "height": height, "width": width})
        with torch.no_grad():
            return list(predictor.model(inputs))
