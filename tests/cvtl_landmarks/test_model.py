"""The model: how it predicts, is saved, and serves other programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from kites import NAMES, PAIRS, flock, make_flocks, make_model, make_options, picture

from cvtl import weights
from cvtl.errors import CvtlWarning, DataError, UsageError
from cvtl.progress import Progress
from cvtl.results import Landmarks
from cvtl_landmarks import find_landmarks
from cvtl_landmarks.model import LandmarksModel
from cvtl_landmarks.regions import region_of

HEADS = ["heatmap", "regression"]


def tensors(*numbers: int, size_hw: tuple[int, int] = (40, 48)) -> list[torch.Tensor]:
    return [torch.from_numpy(picture(number, size_hw)).permute(2, 0, 1) for number in numbers]


def points_of(results: object) -> torch.Tensor:
    return torch.cat([result.points for result in results])  # type: ignore[attr-defined]


@pytest.mark.parametrize("head", HEADS)
@torch.inference_mode()
def test_a_picture_gets_its_points_whatever_else_is_in_the_batch(head: str) -> None:
    model = make_model(head=head)
    images = [*tensors(0, 1), *tensors(2, size_hw=(70, 33)), *tensors(3, size_hw=(1, 1)), *tensors(4)]
    together = points_of(model.predict(images))
    alone = torch.cat([points_of(model.predict([image])) for image in images])
    assert together.shape == (5, 3, 2)
    assert torch.allclose(together, alone, atol=1e-3)


@torch.inference_mode()
def test_no_pictures_have_no_results() -> None:
    assert make_model().predict([]) == []


@pytest.mark.parametrize("head", HEADS)
def test_saved_weights_predict_the_same(tmp_path: Path, head: str) -> None:
    model = make_model(head=head, flip_pairs=PAIRS, edges=((0, 2),))
    path = weights.save(model, tmp_path / "w.safetensors")
    loaded = weights.load(path)
    with torch.inference_mode():
        expected, found = model.predict(tensors(0, 1)), loaded.predict(tensors(0, 1))
    for one, other in zip(expected, found, strict=True):
        assert one.to_dict() == other.to_dict()
        assert isinstance(other, Landmarks)
        assert (other.names, other.edges) == (NAMES, ((0, 2),))


@torch.inference_mode()
def test_points_in_a_box_are_those_of_the_picture_cut_out() -> None:
    model = make_model(margin=0.0, resize="stretch")
    image = torch.from_numpy(flock(3)[0]).permute(2, 0, 1)
    boxes = torch.tensor([[5.0, 10, 53, 58], [60, 5, 110, 55]])
    (found,) = model.predict_in_boxes([image], [boxes])
    assert isinstance(found, Landmarks)
    for index, box in enumerate(boxes.tolist()):
        left, top, right, bottom = region_of(box, 0.0)
        (alone,) = model.predict([image[:, top:bottom, left:right]])
        assert torch.allclose(found.points[index], alone.points[0] + torch.tensor([left, top]), atol=1e-3)  # type: ignore[union-attr]
    assert torch.equal(found.boxes, boxes)  # type: ignore[arg-type]


@torch.inference_mode()
def test_pictures_with_no_box_one_and_many_keep_their_own() -> None:
    model = make_model()
    image = torch.from_numpy(flock(0)[0]).permute(2, 0, 1)
    random = np.random.default_rng(0).uniform(0, 50, (70, 2))
    many = torch.from_numpy(np.concatenate([random, random + 20], axis=1)).float()
    results = model.predict_in_boxes([image] * 3, [many[:0], many[:1], many])
    assert [len(result.points) for result in results] == [0, 1, 70]  # type: ignore[union-attr]
    assert torch.allclose(results[1].points, results[2].points[:1], atol=1e-3)  # type: ignore[union-attr]
    assert results[0].to_dict() == {"instances": []}


@torch.inference_mode()
def test_flipping_averages_with_the_mirrored_picture() -> None:
    model = make_model(flip_pairs=PAIRS)
    (image,) = tensors(0)
    plain, mirrored = model.predict([image]), model.predict([image.flip(-1)])
    (both,) = model.with_predict_options(tta="flip").predict([image])
    back = points_of(mirrored)[0][[1, 0, 2]]
    back[:, 0] = 48 - back[:, 0]
    assert torch.allclose(both.points[0], (points_of(plain)[0] + back) / 2, atol=1e-3)  # type: ignore[union-attr]
    scores = (plain[0].visible[0] + mirrored[0].visible[0][[1, 0, 2]]) / 2  # type: ignore[union-attr]
    assert torch.allclose(both.visible[0], scores, atol=1e-6)  # type: ignore[union-attr]


def test_flipping_without_knowing_the_pairs_is_refused() -> None:
    model = make_model().with_predict_options(tta="flip")
    with pytest.raises(UsageError, match="which nobody has told"):
        model.predict(tensors(0))


def test_new_models_want_points_and_to_be_told_of_weights() -> None:
    with pytest.raises(DataError, match="no points"):
        LandmarksModel.initialize(make_options(), ())
    with pytest.raises(UsageError, match="--weights imagenet"):
        LandmarksModel.initialize(make_options(weights=None), NAMES)


def test_names_can_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("points: [wing, claw, beak]\n")
    assert LandmarksModel.initialize(make_options(points=str(file)), NAMES).classes == ("wing", "claw", "beak")


def test_a_frozen_backbone_does_not_learn_and_the_rest_has_rates_of_its_own() -> None:
    groups = dict(make_model(backbone_rate=0.25).parameter_groups())
    assert set(groups) == {1.0, 0.25}
    frozen = make_model(freeze="all", backbone_rate=0.25)
    assert [factor for factor, _ in frozen.parameter_groups()] == [1.0]
    learning = {id(each) for _, group in frozen.parameter_groups() for each in group}
    assert not learning & {id(each) for each in frozen.network.backbone.parameters()}


def test_every_parameter_that_learns_is_in_one_group() -> None:
    for head in HEADS:
        model = make_model(head=head)
        grouped = [id(each) for _, group in model.parameter_groups() for each in group]
        assert sorted(grouped) == sorted(id(each) for each in model.parameters() if each.requires_grad)


def test_samples_with_boxes_are_predicted_in_them_and_that_is_said() -> None:
    data = make_flocks(5)
    model = make_model(crop="box")
    with pytest.warns(CvtlWarning, match="own boxes"):
        stream = model.predict_samples(data, batch_size=2, progress=Progress())
    assert stream is not None
    image, target = flock(3)
    with torch.inference_mode():
        found = list(stream)
        boxes = torch.from_numpy(target.boxes).float()  # type: ignore[arg-type]
        (expected,) = model.predict_in_boxes([torch.from_numpy(image).permute(2, 0, 1)], [boxes])
    assert len(found) == 5
    assert torch.allclose(found[3].points, expected.points, atol=1e-3)  # type: ignore[union-attr]


def test_models_of_whole_pictures_predict_samples_in_the_usual_way() -> None:
    assert make_model(crop="picture").predict_samples([], batch_size=1, progress=Progress()) is None


def test_other_programs_give_arrays_and_get_points(tmp_path: Path) -> None:
    model = make_model()
    path = weights.save(model, tmp_path / "w.safetensors")
    image = picture(1)
    by_model, by_file = find_landmarks(model, image), find_landmarks(path, image)
    assert by_model.points.shape == (1, 3, 2)
    assert torch.equal(by_model.points, by_file.points)
    assert find_landmarks(model, image, [[0, 0, 20, 20], [5, 5, 30, 30]]).points.shape == (2, 3, 2)
    assert find_landmarks(model, image, []).points.shape == (0, 3, 2)


def test_weights_of_another_plugin_are_refused_by_name(glow: Path) -> None:
    with pytest.raises(UsageError, match="plugin 'glow'"):
        find_landmarks(glow, picture(0))
