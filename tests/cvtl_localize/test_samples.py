"""What a localizer trains on: views that keep the object, and pictures as they are predicted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_localize import CLASSES, PICTURE_HW, made_sample, make_data, make_model

from cvtl.augmentation import Variation, plain_view
from cvtl.boxes import cxcywh_to_xyxy
from cvtl.data import BoxesTarget, ClassTarget, Dataset, PointsTarget, Sample, Target
from cvtl.errors import DataError
from cvtl.preprocessing import InputSpec, resize
from cvtl.training.memory import in_memory
from cvtl_localize import encode
from cvtl_localize.samples import LEAST_VISIBLE, TrainingSamples, ValidationSamples, check_objects, sample_spec

INPUT = InputSpec(size_hw=(32, 32))
WILD = Variation(flip=True, scale=1.5, shift=0.4)


def training(
    data: Dataset, variation: Variation = WILD, *, epoch: int = 0, input: InputSpec = INPUT
) -> TrainingSamples:
    return TrainingSamples(data, input, variation, seed=0, epoch=epoch)


def test_a_view_without_variation_is_what_prediction_sees() -> None:
    data = make_data(6)
    for (image, vector), (plain, expected) in zip(
        training(data, Variation()), ValidationSamples(data, INPUT), strict=True
    ):
        assert torch.equal(image, plain)
        assert torch.equal(vector, expected)


@pytest.mark.parametrize("rule", ["stretch", "letterbox"])
def test_validation_sees_what_prediction_sees(rule: str) -> None:
    spec = INPUT.model_copy(update={"resize": rule})
    data = make_data(6)
    for (image, vector), sample in zip(ValidationSamples(data, spec), data, strict=True):
        assert torch.equal(image, resize(torch.from_numpy(sample.read()).permute(2, 0, 1), spec))
        assert isinstance(sample.target, BoxesTarget)
        view = plain_view((0, 0, PICTURE_HW[1], PICTURE_HW[0]), spec)
        assert torch.allclose(vector, encode(sample.target, view, len(CLASSES)), atol=1e-6)


@pytest.mark.parametrize("variation", [WILD, Variation(flip=True), Variation(rotation=20)])
def test_the_box_moves_with_the_picture(variation: Variation) -> None:
    # The squares are bright and their surroundings are not: the light is where the box is.
    data = make_data(40, empty=0)
    for image, vector in training(data, variation, input=INPUT):
        left, top, right, bottom = (cxcywh_to_xyxy(vector[1:5]) * 32).tolist()
        label = int(vector[5:].argmax())
        rows, columns = np.nonzero(image[label].numpy() > 160)
        found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert found == pytest.approx((left, top, right, bottom), abs=2.5)


def test_views_show_most_of_the_object_and_never_call_it_absent() -> None:
    data = make_data(100, empty=0)
    made = training(data)
    assert all(vector[0] == 1 for _, vector in made)
    cut = sum(bool((cxcywh_to_xyxy(vector[1:5]) % 1 == 0).any()) for _, vector in made)
    assert 0 < cut < 100


def test_where_no_view_will_do_the_plain_one_is_taken() -> None:
    full = BoxesTarget(np.array([[0.0, 0, 60, 40]]), np.array([0]))
    data = Dataset([Sample("a.png", made_sample(0).read, full)], CLASSES, "made")
    # Twice as large, a quarter of the object at most is to be seen.
    enlarging = Variation(scale=1.0, shift=0.5)
    vectors = {tuple(training(data, enlarging, epoch=epoch)[0][1].tolist()) for epoch in range(20)}
    assert all(vector[0] == 1 and vector[3] * vector[4] >= LEAST_VISIBLE for vector in vectors)


def test_pictures_without_an_object_stay_without() -> None:
    data = make_data(20, empty=1)
    assert all(vector.tolist() == [0] * 8 for _, vector in training(data))


def test_each_epoch_has_its_own_views_and_they_come_again() -> None:
    data = make_data(4)
    one, other, again = training(data, epoch=0), training(data, epoch=1), training(data, epoch=0)
    for index in range(4):
        assert not torch.equal(one[index][0], other[index][0])
        assert torch.equal(one[index][0], again[index][0])
        assert torch.equal(one[index][1], again[index][1])


@pytest.mark.parametrize("rule", ["stretch", "letterbox"])
def test_samples_from_memory_are_the_same_to_the_bit(rule: str) -> None:
    spec = INPUT.model_copy(update={"resize": rule})
    data = make_data(8)
    kept = in_memory(data, sample_spec(spec, WILD))
    for one, other in zip(training(data, input=spec), training(kept, input=spec), strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def test_samples_have_the_inputs_size_and_type() -> None:
    image, vector = training(make_data(1))[0]
    assert (image.shape, image.dtype, vector.shape) == ((3, 32, 32), torch.uint8, (5 + len(CLASSES),))


def test_colours_change_where_the_network_runs() -> None:
    images = torch.full((4, 3, 8, 8), 100, dtype=torch.uint8)
    assert not torch.equal(make_model(jitter=0.5).augment(images), images)
    assert torch.equal(make_model(jitter=0).augment(images), images)


def test_pictures_without_an_object_are_counted() -> None:
    data = make_data(50)
    empty = sum(len(sample.target.boxes) == 0 for sample in data if isinstance(sample.target, BoxesTarget))
    assert check_objects(data) == empty > 0


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (ClassTarget(0), r"learns from pictures with boxes, which 'a\.png' has none of.*boxes\.csv"),
        (PointsTarget(np.zeros((3, 2)), np.ones(3, bool)), "learns from pictures with boxes"),
        (None, "learns from pictures with boxes"),
        (BoxesTarget(np.zeros((0, 4)), np.zeros(0, np.int64)), "none of the 1 pictures of 'here' has an object"),
        (BoxesTarget(np.array([[0, 0, 9, 9]]), np.zeros(1, np.int64), np.ones(1, bool)), "none of the 1 pictures"),
    ],
)
def test_data_that_teach_nothing_are_refused(target: Target | None, message: str) -> None:
    data = Dataset([Sample("a.png", made_sample(0).read, target)], CLASSES, "made", "here")
    with pytest.raises(DataError, match=message):
        check_objects(data)
