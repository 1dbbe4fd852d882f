"""Finding pictures that are there twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from cvtl.data import Sample, UInt8Image
from cvtl.fingerprints import Fingerprint, exact_duplicates, fingerprint_of, fingerprints, near_duplicates
from cvtl.images import decode, encode


def scene(seed: int, size_hw: tuple[int, int] = (300, 400)) -> UInt8Image:
    """Clouds whose spectrum falls with the frequency, as that of photographs does (Field 1987)."""
    random = np.random.default_rng(seed)
    frequencies = np.hypot(np.fft.fftfreq(size_hw[0])[:, None], np.fft.fftfreq(size_hw[1])[None])
    spectrum = np.fft.fft2(random.normal(size=(3, *size_hw))) / np.maximum(frequencies, 1e-3)
    clouds: npt.NDArray[np.float64] = np.fft.ifft2(spectrum).real.transpose(1, 2, 0)
    return np.asarray(np.clip(128 + 50 * clouds / clouds.std(), 0, 255), np.uint8)


def sky(seed: int, noise: float) -> UInt8Image:
    """Brighter towards the horizon, darker in the corners, a little noise, saved as JPEG."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:240j, -1:1:320j]
    grey = 190 + random.uniform(10, 50) * y - random.uniform(0, 30) * (x * x + y * y) + random.uniform(-9, 9) * x
    grey += random.normal(0, noise, grey.shape)
    return jpeg(np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2), 90)


def jpeg(image: UInt8Image, quality: int) -> UInt8Image:
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def smaller(image: UInt8Image, ratio: float) -> UInt8Image:
    return np.asarray(cv2.resize(image, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_LINEAR), np.uint8)


def cropped(image: UInt8Image, part: float) -> UInt8Image:
    height, width = image.shape[:2]
    top, left = round(part * height), round(part * width)
    return image[top : height - top, left : width - left]


def of(*images: UInt8Image) -> list[Fingerprint]:
    return [fingerprint_of(image.tobytes(), image) for image in images]


def with_hash(*bits: int, tolerance: int = 40) -> Fingerprint:
    """A fingerprint with these bits set."""
    flags = np.zeros(256, bool)
    flags[list(bits)] = True
    packed = np.packbits(flags).tobytes()
    return Fingerprint(packed, packed, tolerance)


def unread() -> UInt8Image:
    raise AssertionError("pictures without a file must not be read")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "change",
    [
        lambda image: jpeg(image, 30),
        lambda image: smaller(image, 0.5),
        lambda image: jpeg(smaller(image, 0.3), 50),
        lambda image: np.clip(1.15 * image + 15, 0, 255).astype(np.uint8),
        lambda image: (0.6 * image).astype(np.uint8),
        lambda image: np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2),
        lambda image: cropped(image, 0.01),
    ],
    ids=["JPEG", "half", "third and JPEG", "brighter", "darker", "grey", "cropped"],
)
def test_a_picture_that_was_changed_a_little_is_a_near_duplicate(
    seed: int, change: Callable[[UInt8Image], UInt8Image]
) -> None:
    image = scene(seed)
    assert near_duplicates(of(scene(100), image, scene(101), change(image))) == [[1, 3]]


def test_different_pictures_are_no_duplicates() -> None:
    found = of(*(scene(seed, (96, 128)) for seed in range(200)))
    assert near_duplicates(found) == exact_duplicates(found) == []


@pytest.mark.parametrize("noise", [0.0, 0.5, 3.0])
def test_different_skies_are_no_duplicates(noise: float) -> None:
    assert near_duplicates(of(*(sky(seed, noise) for seed in range(60)))) == []


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_pictures_of_one_shade_have_nothing_to_compare(grey: int) -> None:
    image = np.full((50, 70, 3), grey, np.uint8)
    noisy = np.clip(image + np.random.default_rng(0).normal(0, 2, image.shape), 0, 255).astype(np.uint8)
    found = [fingerprint_of(b"a", image), fingerprint_of(b"b", image), fingerprint_of(b"c", noisy)]
    assert [each.perceptual for each in found[:2]] == [None, None]
    assert near_duplicates(found) == []


def test_plain_pictures_whose_files_are_equal_are_duplicates() -> None:
    black = np.zeros((50, 70, 3), np.uint8)
    assert exact_duplicates(of(black, black)) == near_duplicates(of(black, black)) == [[0, 1]]


def test_the_same_picture_in_another_container_is_a_near_duplicate_and_no_exact_one() -> None:
    image = scene(0)
    files = [encode(image, ".png"), encode(image, ".bmp")]
    found = [fingerprint_of(data, image) for data in files]
    assert near_duplicates(found) == [[0, 1]]
    assert exact_duplicates(found) == []


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 500), (500, 1), (3, 2), (32, 32)])
def test_pictures_of_any_size_have_a_fingerprint(height: int, width: int) -> None:
    (found,) = of(scene(0, (height, width)))
    assert len(found.exact) == 32
    assert found.tolerance == (24 if max(height, width) <= 32 else 40)


@pytest.mark.parametrize(
    ("pair", "near"),
    [
        ((with_hash(), with_hash(*range(100, 140))), True),
        ((with_hash(), with_hash(*range(100, 141))), False),
        ((with_hash(), with_hash(*range(10))), True),
        ((with_hash(), with_hash(*range(11))), False),
        ((with_hash(), with_hash(*range(100, 124), tolerance=24)), True),
        ((with_hash(tolerance=24), with_hash(*range(100, 125))), False),
        ((with_hash(tolerance=24), with_hash()), True),
    ],
)
def test_the_lesser_tolerance_counts_and_the_coarse_bits_have_their_own(
    pair: tuple[Fingerprint, Fingerprint], near: bool
) -> None:
    assert near_duplicates(pair) == ([[0, 1]] if near else [])


def slow_groups(found: Sequence[Fingerprint | None]) -> list[list[int]]:
    """All pairs, bit by bit; groups by walking from picture to picture."""
    neighbours: dict[int, set[int]] = {index: set() for index in range(len(found))}
    for (i, one), (j, other) in combinations(enumerate(found), 2):
        if one is None or other is None:
            continue
        near = one.exact == other.exact
        if one.perceptual is not None and other.perceptual is not None:
            differing = int.from_bytes(one.perceptual) ^ int.from_bytes(other.perceptual)
            fits = differing.bit_count() <= min(one.tolerance, other.tolerance)
            near = near or (fits and (differing >> 192).bit_count() <= 10)
        if near:
            neighbours[i].add(j)
            neighbours[j].add(i)
    groups = []
    while neighbours:
        group, border = set(), {min(neighbours)}
        while border:
            index = border.pop()
            group.add(index)
            border |= neighbours.pop(index) - group
        groups.append(sorted(group))
    return [group for group in groups if len(group) > 1]


@pytest.mark.parametrize("seed", range(6))
def test_groups_are_those_of_a_plain_loop_over_all_pairs(seed: int) -> None:
    random = np.random.default_rng(seed)
    centres = random.random((12, 256)) < 0.5
    found: list[Fingerprint | None] = []
    for _ in range(150):
        flips = random.random(256) < random.choice([0.0, 0.03, 0.06, 0.09])
        packed = np.packbits(centres[random.integers(12)] ^ flips).tobytes()
        perceptual = packed if random.random() < 0.8 else None
        found.append(Fingerprint(random.bytes(32), perceptual, int(random.choice([24, 40]))))
        if random.random() < 0.1:
            found += [None, found[random.integers(len(found))]]
    expected = slow_groups(found)
    assert near_duplicates(found) == expected
    assert 5 <= len(expected) <= 40


def test_a_chain_of_pictures_each_near_the_next_is_one_group() -> None:
    chain = [with_hash(*range(64, 64 + 30 * step)) for step in range(7)]
    assert near_duplicates(chain[::2] + chain[1::2]) == [[0, 1, 2, 3, 4, 5, 6]]


@pytest.mark.parametrize("found", [[], [None], [None, None], [with_hash(1)], [with_hash(1), None]])
def test_where_there_is_nothing_to_compare_there_are_no_groups(found: list[Fingerprint | None]) -> None:
    assert near_duplicates(found) == exact_duplicates(found) == []


def test_many_equal_pictures_are_compared_as_one() -> None:
    found = [*[with_hash(100)] * 60_000, with_hash(101), with_hash(*range(64, 256))]
    assert near_duplicates(found) == [list(range(60_001))]


def test_fingerprints_keep_the_order_and_have_none_for_what_cannot_be_read(tmp_path: Path) -> None:
    samples = []
    for number in range(60):
        data = encode(scene(number, (40, 50)), ".png")
        if number % 7 == 3:
            data = data[: 100 * (number % 2)]
        if number % 7 != 5:
            (tmp_path / f"{number}.png").write_bytes(data)
        samples.append(Sample.of_file(f"{number}.png", tmp_path / f"{number}.png"))
    samples.append(Sample("made when it is read", unread))
    counted: list[int] = []
    found = fingerprints(samples, counted.append)
    assert counted == [1] * 61
    for number, fingerprint in enumerate(found[:60]):
        if number % 7 in (3, 5):
            assert fingerprint is None
        else:
            data = (tmp_path / f"{number}.png").read_bytes()
            image = decode(data).image
            assert image is not None
            assert fingerprint == fingerprint_of(data, image)
    assert found[60] is None


@pytest.mark.shared
@pytest.mark.parametrize(
    ("folder", "exact", "near"),
    [
        ("detection_raccoon/images", [[11, 116], [52, 74], [65, 98], [83, 120]], [[21, 45], [50, 52, 74], [51, 85]]),
        ("detection_bccd/BCCD/JPEGImages", [], [[37, 38]]),
        ("classify_flowers/train", [], []),
        ("classify_sign_digits", [], []),
        ("classify_mnist", [], []),
        ("sliding_vehicles/vehicles/KITTI_extracted", [], [[17, 301], [19, 206], [128, 225]]),
    ],
)
def test_in_real_sets_the_duplicates_are_found_and_nothing_else(
    shared_data: Path, folder: str, exact: list[list[int]], near: list[list[int]]
) -> None:
    """Groups of pictures by the numbers in their names; all were looked at."""
    files = [file for file in (shared_data / folder).rglob("*") if file.suffix.lower() in (".jpg", ".png")]
    found = fingerprints([Sample.of_file(file.name, file) for file in files], lambda count: None)
    assert None not in found

    def numbers(groups: list[list[int]]) -> list[list[int]]:
        return sorted(sorted(int("".join(filter(str.isdigit, files[i].stem))) for i in group) for group in groups)

    assert numbers(exact_duplicates(found)) == exact
    assert [group for group in numbers(near_duplicates(found)) if group not in exact] == near
