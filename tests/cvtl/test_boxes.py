"""Box conversions, overlaps and suppression against plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.ops import complete_box_iou_loss

from cvtl import boxes as B

BoxTuple = tuple[float, float, float, float]

corner = st.integers(-20, 20)
any_box = st.tuples(corner, corner, corner, corner)  # degenerate and inverted ones too
positive = st.integers(1, 20)
real_box = st.tuples(corner, corner, positive, positive).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
tied_score = st.sampled_from([0.125, 0.5, 0.5, 0.75])
scored_box = st.tuples(any_box, tied_score, st.integers(0, 2))
# Exact in binary, so that float32 and Python agree on boxes that lie just on the threshold.
threshold = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    return torch.device(request.param)


def tensor_of(rows: list[BoxTuple]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def slow_area(box: BoxTuple) -> float:
    x1, y1, x2, y2 = box
    return (x2 - x1) * (y2 - y1) if x2 > x1 and y2 > y1 else 0.0


def slow_iou(a: BoxTuple, b: BoxTuple) -> float:
    intersection = slow_area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    union = slow_area(a) + slow_area(b) - intersection
    return intersection / union if union else 0.0


def slow_giou(a: BoxTuple, b: BoxTuple) -> float:
    hull = slow_area((min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])))
    intersection = slow_area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    union = slow_area(a) + slow_area(b) - intersection
    return slow_iou(a, b) - ((hull - union) / hull if hull else 0.0)


def slow_ciou(a: BoxTuple, b: BoxTuple) -> float:
    diagonal = (max(a[2], b[2]) - min(a[0], b[0])) ** 2 + (max(a[3], b[3]) - min(a[1], b[1])) ** 2
    distance = ((a[0] + a[2] - b[0] - b[2]) / 2) ** 2 + ((a[1] + a[3] - b[1] - b[3]) / 2) ** 2
    angles = [math.atan((box[2] - box[0]) / (box[3] - box[1])) for box in (a, b)]
    v = 4 / math.pi**2 * (angles[0] - angles[1]) ** 2
    alpha = v / (1 - slow_iou(a, b) + v) if v else 0
    return slow_iou(a, b) - distance / diagonal - alpha * v


def slow_nms(boxes: list[BoxTuple], scores: list[float], labels: list[int], iou_threshold: float) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if all(labels[i] != labels[k] or slow_iou(boxes[i], boxes[k]) <= iou_threshold for k in kept):
            kept.append(i)
    return kept


def slow_soft_nms(
    boxes: list[BoxTuple], scores: list[float], labels: list[int], decay: Callable[[float], float], least: float
) -> list[tuple[int, float]]:
    left, chosen = dict(enumerate(scores)), []
    while left:
        best = min(left, key=lambda i: (-left[i], i))
        chosen.append((best, left.pop(best)))
        for i in left:
            if labels[i] == labels[best]:
                left[i] *= decay(slow_iou(boxes[best], boxes[i]))
    return [(i, score) for i, score in chosen if score >= least]


def random_boxes(count: int, classes: int, seed: int, side: float = 200) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * side - side / 4
    boxes = torch.cat([corners, corners + torch.rand(count, 2, generator=generator) * 60 + 1], dim=1)
    scores = torch.randint(0, 50, (count,), generator=generator) / 50
    return boxes, scores, torch.randint(0, classes, (count,), generator=generator)


# Conversions


@pytest.mark.parametrize(
    ("convert", "back"),
    [
        (B.xyxy_to_xywh, B.xywh_to_xyxy),
        (B.xyxy_to_cxcywh, B.cxcywh_to_xyxy),
        (B.xywh_to_cxcywh, B.cxcywh_to_xywh),
        (lambda b: B.absolute_to_normalized(b, (64, 128)), lambda b: B.normalized_to_absolute(b, (64, 128))),
    ],
)
@given(rows=st.lists(any_box, max_size=5))
def test_a_conversion_and_its_inverse_give_the_same_boxes(
    convert: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor], rows: list[BoxTuple]
) -> None:
    boxes = tensor_of(rows)
    assert torch.equal(back(convert(boxes)), boxes)


@given(box=any_box)
def test_the_formats_mean_what_their_names_say(box: BoxTuple) -> None:
    x1, y1, x2, y2 = box
    boxes = tensor_of([box])
    assert B.xyxy_to_xywh(boxes).tolist() == [[x1, y1, x2 - x1, y2 - y1]]
    assert B.xyxy_to_cxcywh(boxes).tolist() == [[(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]]
    assert torch.equal(B.xywh_to_cxcywh(B.xyxy_to_xywh(boxes)), B.xyxy_to_cxcywh(boxes))


def test_normalized_boxes_are_divided_by_width_and_height() -> None:
    boxes = torch.tensor([[5.0, 10, 20, 40]])
    assert B.absolute_to_normalized(boxes, (40, 20)).tolist() == [[0.25, 0.25, 1, 1]]


def test_conversions_keep_leading_dimensions() -> None:
    boxes = torch.rand(2, 3, 4)
    for convert in (B.xyxy_to_xywh, B.xywh_to_xyxy, B.xyxy_to_cxcywh, B.cxcywh_to_xyxy):
        assert convert(boxes).shape == (2, 3, 4)
    assert B.area(boxes).shape == (2, 3)


@pytest.mark.parametrize("count", [0, 1])
def test_conversions_of_no_boxes_are_no_boxes(count: int) -> None:
    boxes = torch.zeros(count, 4)
    for convert in (B.xyxy_to_xywh, B.xywh_to_xyxy, B.xyxy_to_cxcywh, B.cxcywh_to_xyxy, B.xywh_to_cxcywh):
        assert convert(boxes).shape == (count, 4)
    assert B.clip_to_image(boxes, (5, 5)).shape == (count, 4)
    assert B.absolute_to_normalized(boxes, (5, 5)).shape == (count, 4)
    assert B.area(boxes).shape == (count,)


def test_centres_of_integer_boxes_are_not_rounded() -> None:
    assert B.xyxy_to_cxcywh(torch.tensor([[0, 0, 3, 5]])).tolist() == [[1.5, 2.5, 3, 5]]


@given(box=any_box)
def test_clipping_cuts_to_the_picture(box: BoxTuple) -> None:
    x1, y1, x2, y2 = box
    clipped = B.clip_to_image(tensor_of([box]), (8, 12)).tolist()
    assert clipped == [[min(max(x1, 0), 12), min(max(y1, 0), 8), min(max(x2, 0), 12), min(max(y2, 0), 8)]]


def test_a_box_outside_the_picture_is_clipped_to_nothing() -> None:
    assert B.area(B.clip_to_image(torch.tensor([[30.0, 2, 40, 6], [-9, 2, -4, 6]]), (10, 20))).tolist() == [0, 0]


# Overlap


@given(first=st.lists(any_box, max_size=5), second=st.lists(any_box, max_size=5))
def test_iou_and_giou_equal_plain_loops(first: list[BoxTuple], second: list[BoxTuple]) -> None:
    a, b = tensor_of(first), tensor_of(second)
    for fast, slow in ((B.iou, slow_iou), (B.giou, slow_giou)):
        expected = torch.tensor([[slow(x, y) for y in second] for x in first]).reshape(len(first), len(second))
        torch.testing.assert_close(fast(a, b), expected, rtol=0, atol=1e-6)


@given(first=real_box, second=real_box)
def test_overlaps_stay_in_their_ranges_and_do_not_depend_on_the_order(first: BoxTuple, second: BoxTuple) -> None:
    a, b = tensor_of([first]) / 7, tensor_of([second]) / 7  # sevenths: not exact in binary
    assert 0 <= B.iou(a, b).item() <= 1
    assert -1 <= B.giou(a, b).item() <= B.iou(a, b).item() + 1e-6
    assert torch.equal(B.iou(a, b), B.iou(b, a))
    assert B.iou(a, a).item() == B.giou(a, a).item() == 1


@given(pairs=st.lists(st.tuples(real_box, real_box), max_size=5))
def test_paired_overlaps_equal_plain_loops(pairs: list[tuple[BoxTuple, BoxTuple]]) -> None:
    a, b = (tensor_of([pair[side] for pair in pairs]) for side in (0, 1))
    for fast, slow in ((B.paired_iou, slow_iou), (B.paired_ciou, slow_ciou)):
        expected = torch.tensor([slow(x, y) for x, y in pairs])
        torch.testing.assert_close(fast(a, b), expected, rtol=0, atol=1e-5)


@given(first=st.lists(any_box, max_size=4))
def test_paired_iou_is_the_diagonal_of_all_pairs(first: list[BoxTuple]) -> None:
    a, b = tensor_of(first), tensor_of(first[::-1])
    assert torch.equal(B.paired_iou(a, b), B.iou(a, b).diagonal())


def test_ciou_agrees_with_torchvisions_loss() -> None:
    boxes, _, _ = random_boxes(200, 1, seed=4)
    others, _, _ = random_boxes(200, 1, seed=5)
    expected = 1 - complete_box_iou_loss(boxes, others)
    torch.testing.assert_close(B.paired_ciou(boxes, others), expected, rtol=0, atol=1e-5)


def test_ciou_draws_boxes_that_do_not_overlap_together() -> None:
    box = torch.tensor([[0.0, 0, 10, 10]], requires_grad=True)
    B.paired_ciou(box, torch.tensor([[30.0, 0, 60, 10]])).sum().backward()
    assert box.grad is not None
    assert (box.grad[0, [0, 2]] > 0).any()
    assert box.grad.isfinite().all()


def test_no_pairs_have_no_overlaps() -> None:
    assert B.paired_iou(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0,)
    assert B.paired_ciou(torch.zeros(0, 4), torch.zeros(0, 4)).shape == (0,)


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (3, 0)])
@pytest.mark.parametrize("overlap", [B.iou, B.giou])
def test_overlap_with_no_boxes_keeps_both_dimensions(
    overlap: Callable[[Tensor, Tensor], Tensor], n: int, m: int
) -> None:
    assert overlap(torch.zeros(n, 4), torch.zeros(m, 4)).shape == (n, m)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.float32, torch.float64])
def test_iou_of_identical_50000_pixel_boxes_is_one(dtype: torch.dtype) -> None:
    box = torch.tensor([[0, 0, 50_000, 50_000]], dtype=dtype)
    assert B.iou(box, box).item() == 1
    assert B.giou(box, box).item() == 1
    assert B.area(box).item() == 50_000**2


@pytest.mark.parametrize("box", [(3, 3, 3, 9), (3, 3, 3, 3), (9, 9, 3, 3), (9, 3, 3, 9)])
def test_a_box_without_extent_has_no_area_and_overlaps_nothing(box: BoxTuple) -> None:
    empty, whole = tensor_of([box]), torch.tensor([[0.0, 0, 20, 20]])
    assert B.area(empty).item() == 0
    assert B.iou(empty, empty).item() == 0
    assert B.iou(empty, whole).item() == 0
    assert math.isfinite(B.giou(empty, empty).item())


def test_half_precision_boxes_are_compared_in_single_precision() -> None:
    box = torch.tensor([[0, 0, 1000, 1000]], dtype=torch.float16)
    assert B.iou(box, box).dtype == torch.float32
    assert B.iou(box, box).item() == 1


# Suppression


@settings(deadline=None)
@given(rows=st.lists(scored_box, max_size=12), iou_threshold=threshold)
def test_nms_equals_a_plain_loop_with_ties_and_degenerate_boxes(
    rows: list[tuple[BoxTuple, float, int]], iou_threshold: float
) -> None:
    boxes, scores, labels = [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]
    kept = B.nms(tensor_of(boxes), torch.tensor(scores), torch.tensor(labels).long(), iou_threshold=iou_threshold)
    assert kept.tolist() == slow_nms(boxes, scores, labels, iou_threshold)


@pytest.mark.parametrize("count", [500, 1500])  # torchvision takes another way above 1,000 boxes
def test_nms_of_many_boxes_equals_a_plain_loop(count: int) -> None:
    boxes, scores, labels = random_boxes(count, 5, seed=count)
    kept = B.nms(boxes, scores, labels, iou_threshold=0.3)
    assert kept.tolist() == slow_nms(boxes.double().tolist(), scores.tolist(), labels.tolist(), 0.3)
    assert len(kept) < count


def test_equal_scores_keep_their_order() -> None:
    boxes = B.xywh_to_xyxy(torch.tensor([[20.0 * i, 0, 10, 10] for i in range(2000)]))
    assert B.nms(boxes, torch.ones(2000), iou_threshold=0.5).tolist() == list(range(2000))
    assert B.nms(torch.ones(2000, 1) * boxes[:1], torch.ones(2000), iou_threshold=0.5).tolist() == [0]


def test_classes_do_not_suppress_one_another_whatever_the_coordinates() -> None:
    # Shifting boxes by class, the usual trick, fails on both: negative coordinates and ones that float32 rounds.
    negative = torch.tensor([[-20.0, -20, 0, 0], [-19, -19, 1, 1]])
    assert len(B.nms(negative, torch.tensor([0.9, 0.8]), torch.tensor([0, 1]), iou_threshold=0.5)) == 2
    far = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 4], [1e7, 1e7, 1e7 + 64, 1e7 + 64]])
    kept = B.nms(far, torch.tensor([0.9, 0.8, 0.7]), torch.tensor([79, 79, 1]), iou_threshold=0.3)
    assert kept.tolist() == [0, 2]


def test_without_labels_all_boxes_are_of_one_class() -> None:
    boxes, scores, _ = random_boxes(100, 1, seed=3)
    one_class = torch.zeros(100, dtype=torch.int64)
    assert torch.equal(B.nms(boxes, scores, iou_threshold=0.4), B.nms(boxes, scores, one_class, iou_threshold=0.4))
    for without, with_ in zip(B.soft_nms(boxes, scores), B.soft_nms(boxes, scores, one_class), strict=True):
        assert torch.equal(without, with_)


def test_nms_takes_integer_boxes_of_any_size() -> None:
    boxes = torch.tensor([[0, 0, 50_000, 50_000], [0, 0, 50_000, 49_999]], dtype=torch.int32)
    assert B.nms(boxes, torch.tensor([0.5, 0.6]), iou_threshold=0.9).tolist() == [1]


@pytest.mark.parametrize("ties", [50, 3])  # so many different scores only
def test_ten_thousand_boxes_of_eighty_classes(ties: int) -> None:
    boxes, scores, labels = random_boxes(10_000, 80, seed=1, side=300)
    scores = (scores * ties).floor() / ties
    kept = B.nms(boxes, scores, labels, iou_threshold=0.5)
    expected = []
    for label in range(80):
        of_class = (labels == label).nonzero()[:, 0].tolist()
        class_boxes, class_scores = boxes[of_class].double().tolist(), scores[of_class].tolist()
        expected += [of_class[i] for i in slow_nms(class_boxes, class_scores, [label] * len(of_class), 0.5)]
    assert kept.tolist() == sorted(expected, key=lambda i: (-scores[i].item(), i))
    assert len(kept) < 10_000


@settings(deadline=None)
@given(
    rows=st.lists(scored_box, max_size=10),
    method=st.sampled_from(["linear", "gaussian"]),
    iou_threshold=threshold,
)
def test_soft_nms_equals_a_plain_loop(
    rows: list[tuple[BoxTuple, float, int]], method: Literal["linear", "gaussian"], iou_threshold: float
) -> None:
    def decay(overlap: float) -> float:
        if method == "gaussian":
            return math.exp(-(overlap**2) / 0.5)
        return 1 - overlap if overlap > iou_threshold else 1.0

    boxes, scores, labels = [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]
    # In float64 both compute the same, so that ties between decayed scores fall alike.
    kept, new_scores = B.soft_nms(
        tensor_of(boxes).double(),
        torch.tensor(scores, dtype=torch.float64),
        torch.tensor(labels).long(),
        method=method,
        iou_threshold=iou_threshold,
        score_threshold=0.01,
    )
    expected = slow_soft_nms(boxes, scores, labels, decay, 0.01)
    assert kept.tolist() == [i for i, _ in expected]
    assert new_scores.tolist() == pytest.approx([score for _, score in expected], abs=1e-12)


@pytest.mark.parametrize("method", ["linear", "gaussian"])
def test_soft_nms_of_many_boxes_equals_a_plain_loop(method: Literal["linear", "gaussian"]) -> None:
    def decay(overlap: float) -> float:
        return math.exp(-(overlap**2) / 0.5) if method == "gaussian" else 1 - overlap if overlap > 0.3 else 1.0

    boxes, scores, labels = random_boxes(300, 3, seed=8)
    boxes, scores = boxes.double(), scores.double()
    kept, new_scores = B.soft_nms(boxes, scores, labels, method=method)
    expected = slow_soft_nms(boxes.tolist(), scores.tolist(), labels.tolist(), decay, 0.001)
    # The loop's list is by the turn in which boxes were chosen in all classes, which is by their final scores.
    assert kept.tolist() == [i for i, _ in expected]
    assert new_scores.tolist() == pytest.approx([score for _, score in expected], abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_soft_nms_gives_scores_of_the_type_it_was_given(dtype: torch.dtype) -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]])
    assert B.soft_nms(boxes, torch.tensor([0.5, 0.25], dtype=dtype))[1].dtype == dtype


@pytest.mark.parametrize("method", ["linear", "gaussian"])
def test_soft_nms_of_distant_boxes_changes_no_score(method: Literal["linear", "gaussian"]) -> None:
    boxes = B.xywh_to_xyxy(torch.tensor([[20.0 * i, 0, 10, 10] for i in range(50)]))
    kept, scores = B.soft_nms(boxes, torch.full((50,), 0.5), method=method)
    assert kept.tolist() == list(range(50))
    assert scores.tolist() == [0.5] * 50


def test_soft_nms_drops_a_copy_that_lost_all_its_score() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10]])
    kept, scores = B.soft_nms(boxes, torch.tensor([0.5, 0.5]), method="linear")
    assert kept.tolist() == [0]
    assert scores.tolist() == [0.5]


@pytest.mark.parametrize("labels", [None, torch.zeros(0, dtype=torch.int64)])
def test_suppression_of_no_boxes_keeps_none(labels: Tensor | None) -> None:
    boxes, scores = torch.zeros(0, 4), torch.zeros(0)
    kept = B.nms(boxes, scores, labels, iou_threshold=0.5)
    assert (kept.dtype, kept.shape) == (torch.int64, (0,))
    kept, new_scores = B.soft_nms(boxes, scores, labels)
    assert (kept.dtype, kept.shape, new_scores.shape) == (torch.int64, (0,), (0,))


def test_inputs_stay_as_they_were() -> None:
    boxes, scores, labels = random_boxes(60, 2, seed=5)
    before = boxes.clone(), scores.clone(), labels.clone()
    B.nms(boxes, scores, labels, iou_threshold=0.3)
    B.soft_nms(boxes, scores, labels)
    B.giou(boxes, boxes)
    B.clip_to_image(boxes, (20, 20))
    B.cxcywh_to_xyxy(B.xyxy_to_cxcywh(boxes))
    B.normalized_to_absolute(B.absolute_to_normalized(boxes, (20, 30)), (20, 30))
    for now, then in zip((boxes, scores, labels), before, strict=True):
        assert torch.equal(now, then)


def test_results_lie_on_the_device_of_the_boxes_and_equal_those_of_the_cpu(device: torch.device) -> None:
    on_cpu = random_boxes(300, 3, seed=9)
    boxes, scores, labels = (each.to(device) for each in on_cpu)
    kept = B.nms(boxes, scores, labels, iou_threshold=0.5)
    soft_kept, soft_scores = B.soft_nms(boxes, scores, labels)
    normalized = B.absolute_to_normalized(boxes, (20, 30))
    for result in (kept, soft_kept, soft_scores, normalized, B.iou(boxes, boxes), B.clip_to_image(boxes, (9, 9))):
        assert result.device.type == device.type
    assert kept.tolist() == B.nms(*on_cpu, iou_threshold=0.5).tolist()
    assert soft_kept.tolist() == B.soft_nms(*on_cpu)[0].tolist()
