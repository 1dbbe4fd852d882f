"""Painting: what the options change, what is kept, and that it goes on to the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_style import noise, save_picture, save_vgg11, stripes
from torch import Tensor

from cvtl.errors import CvtlWarning, DataError, OptionsError, OutputError, UsageError
from cvtl.options import make_options
from cvtl.workplace import Workplace
from cvtl_style import painting
from cvtl_style.colours import recoloured
from cvtl_style.options import PaintOptions
from cvtl_style.painter import Painter, make
from cvtl_style.pictures import to_bytes

pytestmark = pytest.mark.filterwarnings("ignore:the weights reach no further")

CONTENT = noise(48, 64)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    save_vgg11(folder / "two.pth", 2)
    save_picture(folder / "stripes.png", stripes(48, 64))
    save_picture(folder / "noise.png", noise(48, 64, seed=3))
    left = torch.zeros(3, 48, 64, dtype=torch.uint8)
    left[:, :, :32] = 255
    save_picture(folder / "left.png", left)
    save_picture(folder / "right.png", 255 - left)
    save_picture(folder / "black.png", left * 0)
    return folder


def painter(files: Path, **options: Any) -> Painter:
    given = {"style": ["stripes.png"], "size": 64, "steps": 6, "levels": 1, **options}
    given["style"] = [str(files / each) for each in given["style"]]
    for name in ("style_mask", "mask"):
        if name in given:
            masks = given[name]
            placed = [each if each == "none" else str(files / each) for each in ([masks] if name == "mask" else masks)]
            given[name] = placed[0] if name == "mask" else placed
    usual = {"backbone": "vgg11", "weights": str(files / "two.pth")}
    model = make(make_options(PaintOptions, {**usual, **given})).model
    assert isinstance(model, Painter)
    return model


def painted(files: Path, content: Tensor = CONTENT, **options: Any) -> Tensor:
    (result,) = painter(files, **options).predict([content])
    return result.image  # type: ignore[union-attr]


def apart(a: Tensor, b: Tensor) -> float:
    return float((a.float() - b.float()).abs().mean())


def test_the_style_comes_in_and_the_content_stays(files: Path) -> None:
    none, some, much = (painted(files, beta=beta, steps=15) for beta in (0.0, 0.01, 100.0))
    assert apart(none, CONTENT) < 1
    assert apart(none, CONTENT) < 0.5 * apart(some, CONTENT) < 0.25 * apart(much, CONTENT)


def test_more_steps_lower_j_and_tell_so(files: Path, tmp_path: Path) -> None:
    told: list[str] = []
    model = painter(files, steps=9, save_every=3)
    model.predict_in_steps([CONTENT], [Workplace(tmp_path, "a.png", told.append)])
    totals = [float(line.partition(": J ")[2].split()[0]) for line in told]
    assert [line.partition(": J")[0] for line in told] == [f"a.png: 64 x 48, step {step} of 9" for step in (3, 6, 9)]
    assert totals == sorted(totals, reverse=True)
    assert all(word in told[0] for word in ("content", "style", "variation"))


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_a_painting_goes_on_from_its_last_saved_step_to_the_same_bytes(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    content = noise(96, 128)
    model = painter(files, size=128, levels=2, steps=9, save_every=2, optimizer=optimizer)
    (whole,) = model.predict([content])
    place = Workplace(tmp_path, "a.png")
    saved = 0
    save = painting._Painting._save

    def killing_save(*arguments: Any) -> None:
        nonlocal saved
        save(*arguments)
        saved += 1
        if saved in (1, 3, 5):
            raise KeyboardInterrupt

    monkeypatch.setattr(painting._Painting, "_save", killing_save)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            model.predict_in_steps([content], [place])
        assert place.steps.exists()
        assert place.preview.exists()
    (result,) = model.predict_in_steps([content], [place])
    assert torch.equal(result.image, whole.image)  # type: ignore[union-attr]


def test_steps_of_another_picture_are_not_gone_on_from(files: Path, tmp_path: Path) -> None:
    model, place = painter(files), Workplace(tmp_path, "a.png")
    model.predict_in_steps([noise(48, 64, seed=8)], [place])
    (result,) = model.predict_in_steps([CONTENT], [place])
    assert torch.equal(result.image, painted(files))  # type: ignore[union-attr]


def test_damaged_steps_are_an_error_that_names_the_file(files: Path, tmp_path: Path) -> None:
    model, place = painter(files), Workplace(tmp_path, "a.png")
    place.steps.parent.mkdir(parents=True)
    place.steps.write_bytes(b"no steps")
    with pytest.raises(OutputError, match=r"a\.png\.steps"):
        model.predict_in_steps([CONTENT], [place])


def test_the_seed_decides_the_noise_to_start_from(files: Path) -> None:
    first, again, other = (painted(files, init="noise", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert apart(first, other) > 1


def test_work_in_tiles_ends_with_the_same_picture(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = painted(files)
    monkeypatch.setattr(painting, "most_pixels", lambda *_, **__: 1500)
    assert int((painted(files).int() - whole.int()).abs().max()) <= 1


def test_a_flat_loss_ends_a_level_early(files: Path, tmp_path: Path) -> None:
    told: list[str] = []
    model = painter(files, steps=60, tolerance=0.5)
    model.predict_in_steps([CONTENT], [Workplace(tmp_path, "a.png", told.append)])
    assert "flat" in told[-1]
    assert "of 60" in told[-1]
    assert "step 60" not in told[-1]


def test_a_mask_leaves_the_rest_of_the_picture_as_it_is(files: Path) -> None:
    image = painted(files, mask="left.png", steps=12, beta=1000.0)
    assert torch.equal(image[:, :, 33:], CONTENT[:, :, 33:])
    assert apart(image[:, :, :31], CONTENT[:, :, :31]) > 2


def test_style_masks_keep_styles_in_their_places(files: Path) -> None:
    here, there = (
        painted(files, style=["stripes.png", "noise.png"], style_mask=masks, beta=10_000.0, alpha=0.0, steps=25)
        for masks in (["left.png", "right.png"], ["right.png", "left.png"])
    )

    def roughness(image: Tensor, columns: slice) -> float:
        part = image[:, :, columns].float()
        return float((part[:, :, 1:] - part[:, :, :-1]).abs().mean())

    left, right = slice(0, 28), slice(36, 64)
    assert roughness(here, left) / roughness(here, right) > 1.2 * roughness(there, left) / roughness(there, right)


def test_weights_of_styles_decide_the_mixture(files: Path) -> None:
    both = ["stripes.png", "noise.png"]
    only, mostly, alone = (
        painted(files, style=style)
        for style in (["stripes.png"], ["stripes.png", "noise.png:0.001"], [f"{both[0]}:0.001", both[1]])
    )
    assert apart(mostly, only) < apart(alone, only)


def test_luminance_keeps_the_pictures_colours(files: Path) -> None:
    image = painted(files, colours="luminance", steps=12).float()
    inside = ((image > 0) & (image < 255)).all(0)
    difference = (image[0] - image[2]) - (CONTENT[0].float() - CONTENT[2].float())
    assert float(difference[inside].abs().max()) <= 1.01


def test_histogram_takes_the_style_in_the_pictures_colours(files: Path) -> None:
    matched = to_bytes(recoloured(stripes(48, 64).float() / 255, CONTENT.float() / 255))
    save_picture(files / "matched.png", matched)
    image = painted(files, colours="histogram")
    assert torch.equal(image, painted(files, style=["matched.png"]))
    assert not torch.equal(image, painted(files))


@pytest.mark.parametrize(("size", "expected"), [(32, (24, 32)), (None, (48, 64)), (96, (72, 96))])
def test_the_longer_side_is_as_asked_for(files: Path, size: int | None, expected: tuple[int, int]) -> None:
    assert tuple(painted(files, size=size, steps=1).shape[1:]) == expected


def test_pictures_too_small_for_the_network_are_said_to_be(files: Path) -> None:
    with pytest.raises(ValueError, match="64 x 1 pixels is too small"):
        painted(files, noise(1, 64))


def test_a_loss_that_is_no_number_any_more_is_an_error(files: Path) -> None:
    with pytest.raises(ValueError, match="stopped being a number"):
        painted(files, optimizer="adam", rate=1e30, steps=12)


def test_other_backbones_paint_too(files: Path) -> None:
    image = painted(files, backbone="squeezenet1_1", weights="none", steps=3)
    assert image.shape == CONTENT.shape
    assert apart(image, CONTENT) > 0.1


def test_layers_of_a_partial_file_are_told(files: Path) -> None:
    with pytest.warns(CvtlWarning, match="no further than 'pool2': the style is compared at relu1_1, relu2_1"):
        painter(files)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"layers": ["relu4_1"]}, UsageError, "reach no layer 'relu4_1'"),
        ({"weights": None}, UsageError, "nothing says where the weights"),
        ({"style": ["missing.png"]}, DataError, r"missing\.png"),
        ({"mask": "black.png"}, UsageError, r"black\.png' is black everywhere"),
        ({"style": []}, OptionsError, "style"),
        ({"style": ["stripes.png:0"]}, OptionsError, "more than 0"),
        ({"style_mask": ["left.png", "right.png"]}, OptionsError, "2 style masks for 1 styles"),
        ({"max_memory": "much"}, OptionsError, "no size of memory"),
    ],
)
def test_what_a_user_gets_wrong_is_told(
    files: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        painter(files, **options)


def test_too_little_memory_is_told(files: Path) -> None:
    with pytest.raises(UsageError, match="--max-memory"):
        painted(files, max_memory="10MB")
