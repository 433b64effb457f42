"""A model of detectron2 itself, with weights drawn at random, through the whole job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import execution, predict
from pipeline.config import CompactConfig, DedupConfig
from pipeline.dataset import load
from pipeline.detector import DetectConfig
from tests import oracle

CONFIG = """
VERSION: 2
MODEL:
  WEIGHTS: ""
  DEVICE: cpu
  MASK_ON: true
  BACKBONE: {NAME: build_resnet_fpn_backbone}
  RESNETS: {DEPTH: 18, RES2_OUT_CHANNELS: 64, OUT_FEATURES: [res2, res3, res4, res5]}
  FPN: {IN_FEATURES: [res2, res3, res4, res5]}
  ANCHOR_GENERATOR: {SIZES: [[32], [64], [128], [256], [512]]}
  RPN: {IN_FEATURES: [p2, p3, p4, p5, p6]}
  ROI_HEADS: {NAME: StandardROIHeads, IN_FEATURES: [p2, p3, p4, p5], SCORE_THRESH_TEST: 0.0}
  ROI_BOX_HEAD: {NAME: FastRCNNConvFCHead, NUM_FC: 2, POOLER_RESOLUTION: 7}
  ROI_MASK_HEAD: {NAME: MaskRCNNConvUpsampleHead, NUM_CONV: 4, POOLER_RESOLUTION: 14}
INPUT: {MIN_SIZE_TEST: 120, MAX_SIZE_TEST: 160}
TEST: {DETECTIONS_PER_IMAGE: 20}
"""


@pytest.mark.filterwarnings("ignore")
def test_masks_of_a_model_are_those_that_it_gives_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine: Any = pytest.importorskip("detectron2.engine", reason="detectron2 is not installed")
    config: Any = pytest.importorskip("detectron2.config")
    image: Any = pytest.importorskip("PIL.Image")
    monkeypatch.setattr(execution, "may_run_here", lambda config: True)
    (tmp_path / "small.yaml").write_text(CONFIG)
    settings = config.get_cfg()
    settings.merge_from_file(str(tmp_path / "small.yaml"))
    torch.manual_seed(0)
    own = engine.DefaultPredictor(settings)
    # As drawn, hardly any pixel of a mask reaches 0.5.
    torch.nn.init.normal_(own.model.roi_heads.mask_head.predictor.weight)
    torch.save({"model": own.model.state_dict()}, tmp_path / "model.pth")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 90, 140, 3), np.uint8)
    (tmp_path / "images").mkdir()
    for n in range(2):
        image.fromarray(pixels[n]).save(tmp_path / "images" / f"{n}.png")
    # Alone, as DefaultPredictor does it: in a batch such weights give other masks.
    detect = DetectConfig(
        batch_images=1,
        callable="pipeline.interop.detectron2:Predictor",
        arguments={
            "config": str(tmp_path / "small.yaml"),
            "weights": str(tmp_path / "model.pth"),
            "score_threshold": 0.0,
        },
    )
    inputs, output = (str(tmp_path / "images"),), str(tmp_path / "out")
    kept_all = DedupConfig(group="none")
    predict.run(CompactConfig(inputs=inputs, output=output, dedup=kept_all), detect)
    found = {one.image_id: one.annotations() for one in load(output)}
    n_masks = 0
    for n in range(2):
        instances = own(pixels[n][:, :, ::-1])["instances"]
        masks = np.array(instances.pred_masks)
        expected = sorted(oracle.encode(mask) for mask in masks if mask.any())
        rows = found.get(str(n), [])
        assert sorted(row["segmentation"]["counts"].encode() for row in rows) == expected
        n_masks += len(rows)
    assert n_masks > 0
