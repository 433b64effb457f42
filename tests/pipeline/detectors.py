"""Small detectors, named by import path in the tests."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np


def squares(images: list[Any]) -> list[dict[str, Any]]:
    """Find each colour but black twice, the second time a pixel smaller."""
    return [_colours(image, 0.9) for image in images]


class Squares:
    """The same with a score to choose."""

    def __init__(self, score: float = 0.9) -> None:
        self.score = score

    def __call__(self, images: list[Any]) -> list[dict[str, Any]]:
        return [_colours(image, self.score) for image in images]


def _colours(image: Any, score: float) -> dict[str, Any]:
    codes = image.astype(int) @ [1, 256, 65536]
    found = [codes == code for code in np.unique(codes[codes > 0])]
    masks = np.array([mask for mask in found for _ in range(2)]).reshape(-1, *codes.shape)
    for mask in masks[1::2]:
        y, x = np.argwhere(mask)[0]
        mask[y, x] = False
    scores = [score, score - 0.1] * len(found)
    return {"masks": masks, "scores": scores, "category_ids": [1] * len(masks)}


class Tensor:
    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values)

    def detach(self) -> Tensor:
        return self

    cpu = detach

    def numpy(self) -> Any:
        return self.values

    def __len__(self) -> int:
        return len(self.values)

    @property
    def dtype(self) -> str:
        return f"torch.{self.values.dtype}"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape


class Boxes:
    def __init__(self, values: Any) -> None:
        self.tensor = Tensor(values)


class Instances:
    """What detectron2 returns, as far as it is read."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields

    def get_fields(self) -> dict[str, Any]:
        return self.fields


def like_detectron2(images: list[Any]) -> list[dict[str, Any]]:
    """Find what `squares` finds, in detectron2's words."""
    out: list[dict[str, Any]] = []
    for found in squares(images):
        n = len(found["masks"])
        fields = {
            "pred_masks": Tensor(found["masks"]),
            "scores": Tensor(found["scores"]),
            "pred_classes": Tensor(np.array(found["category_ids"], np.int64)),
            "pred_boxes": Boxes(np.tile(np.array([1, 2, 5, 8], np.float32), (n, 1))),
        }
        out.append({"instances": Instances(fields)})
    return out


def too_few(images: list[Any]) -> list[Any]:
    return []


def no_masks(images: list[Any]) -> list[Any]:
    return [{"boxes": []} for _ in images]


def uneven(images: list[Any]) -> list[Any]:
    return [{"masks": []} | ({"scores": []} if n else {}) for n in range(len(images))]


def failing(images: list[Any]) -> list[Any]:
    raise RuntimeError("out of memory")


NUMBER = 5


def endless(images: list[Any]) -> list[Any]:
    threading.Event().wait(120)
    return []
