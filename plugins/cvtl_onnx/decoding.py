"""From the outputs of exported detectors to boxes.

Each function takes one picture's output, float, without N, and the size of the input (H, W). It gives boxes (A, 4) as
xyxy in pixels of the input, scores (A,) in [0, 1] and int64 labels (A,): for each place in the output its best class,
not yet filtered or suppressed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cvtl.boxes import cxcywh_to_xyxy
from cvtl_onnx.layouts import BOX, BOX_AND_OBJECT, FASTEST_STRIDE, STRIDES, Size, is_end_to_end
from cvtl_onnx.options import DetectorLayout

Found = tuple[Tensor, Tensor, Tensor]


def yolox(output: Tensor, size_hw: Size) -> Found:
    """(cells, 5 + C): centre from the cell's corner and logarithm of the size, in strides; objectness; classes.

    Source: Ge et al. 2021, arXiv 2107.08430; the code of Megvii's `demo_postprocess`.

    Example:
        >>> output = torch.zeros(4 + 1, 6)                # an input of 16 x 16: grids of 2 x 2, 1 x 1 and none
        >>> output[3] = torch.tensor([0.5, 0.5, 0.0, 0.0, 0.9, 1.0])
        >>> boxes, scores, labels = yolox(output, (16, 16))
        >>> boxes[3].tolist(), round(float(scores[3]), 3)
        ([8.0, 8.0, 16.0, 16.0], 0.9)
    """
    corners = torch.cat([_corners(size_hw[0] // stride, size_hw[1] // stride) for stride in STRIDES])
    strides = torch.cat([torch.full(((size_hw[0] // each) * (size_hw[1] // each), 1), float(each)) for each in STRIDES])
    centres, sizes = (output[:, :2] + corners) * strides, output[:, 2:4].exp() * strides
    best, labels = output[:, BOX_AND_OBJECT:].max(dim=1)
    return cxcywh_to_xyxy(torch.cat([centres, sizes], dim=1)), output[:, 4] * best, labels


def ultralytics(output: Tensor, size_hw: Size) -> Found:
    """(4 + C, A): centre and size in pixels, classes; or (K, 6): corners in pixels, score, class.

    Example:
        >>> ultralytics(torch.tensor([[10.0, 20.0, 30.0, 40.0, 0.5, 2.0]]), (64, 64))
        (tensor([[10., 20., 30., 40.]]), tensor([0.5000]), tensor([2]))
    """
    if is_end_to_end(tuple(output.shape)):
        return output[:, :4], output[:, 4], output[:, 5].round().long()
    best, labels = output[BOX:].max(dim=0)
    return cxcywh_to_xyxy(output[:4].T), best, labels


def fastestdet(output: Tensor, size_hw: Size) -> Found:
    """(5 + C, H / 16, W / 16): objectness; centre from the cell's corner, by tanh; size by a sigmoid; classes.

    The score is objectness^0.6 times class^0.4. Source: dog-qiuqiu/FastestDet, `utils/tool.py`, `handle_preds`.
    """
    _, rows, columns = output.shape
    cells = output.reshape(output.shape[0], -1).T
    centres = (cells[:, 1:3].tanh() + _corners(rows, columns)) * FASTEST_STRIDE
    sizes = cells[:, 3:5].sigmoid() * cells.new_tensor([size_hw[1], size_hw[0]])
    best, labels = cells[:, BOX_AND_OBJECT:].max(dim=1)
    return cxcywh_to_xyxy(torch.cat([centres, sizes], dim=1)), cells[:, 0] ** 0.6 * best**0.4, labels


DECODERS: dict[DetectorLayout, Callable[[Tensor, Size], Found]] = {
    "yolox": yolox,
    "ultralytics": ultralytics,
    "fastestdet": fastestdet,
}


def _corners(rows: int, columns: int) -> Tensor:
    """Columns and rows, (x, y), of a grid's cells, (rows * columns, 2), row by row."""
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2).float()
