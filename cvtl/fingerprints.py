"""Fingerprints of pictures, to find those that are in a data set twice: the same file, or nearly the same picture.

Two pictures are exact duplicates if their files are equal byte for byte, and near-duplicates if few bits of their
perceptual hashes differ. That is the DCT hash of C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash
Functions" (2010), longer, and with signs in place of comparisons with the median: the picture, grey, is averaged into
32 x 32 fields, and the signs of the lowest 16 x 16 of their DCT coefficients make 256 bits, of which the lowest 8 x 8
are compared first. The signs say nothing of brightness, contrast and colour.

How many bits may differ was measured on photographs (flowers, raccoons, street scenes), blood smears, video frames of
faces and cars, hand signs and handwritten digits:

    how a picture was changed                              bits of 256 that differ: median, 99 % of pictures
    saved as JPEG of quality 30                                                   2    6
    made a third as large, saved with quality 50                                  9   28
    made brighter by 15 % and 15 grey levels                                      6   25
    cropped by 1 % on every side                                                 17   26
    cropped by 2 % on every side                                                 34   50
    cropped by 4 % on every side                                                 65   88

Different photographs and blood smears differ in 89 bits and more, different hands, or cars that fill pictures of
64 x 64, in 43. With 40, all that was recompressed, resized or brightened is found, 85 % of what was cropped by 2 %, and
of 2323 video frames of 188 persons 730 pairs, all of one person and nearly all of one clip.

Not found are pictures that were mirrored, turned, inverted, or given a frame or bars: their signs are others.

Pictures no larger than the 32 x 32 fields are another matter: of 1200 handwritten digits two that only look alike
differ in 29 bits. In these 24 may differ, which is what recompression takes. Plain pictures (a sky, a wall, nothing at
all) have no near-duplicates: most of their coefficients are noise, as few of a real picture's are.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from cvtl.background import map_ahead
from cvtl.data import Sample, UInt8Image
from cvtl.images import decode
from cvtl.run_settings import default_readers

_FIELDS = 32
_SIDE, _COARSE_SIDE = 16, 8
_TOLERANCE, _SMALL_TOLERANCE, _COARSE_TOLERANCE = 40, 24, 10
# A coefficient of 1 is a pattern of 1/32 grey level on average. Of 256, plain skies with noise have 15 to 33 that are
# larger, blurred patches of dark cars 72 and more, photographs 220 and more.
_AUDIBLE, _FEWEST_AUDIBLE = 1.0, 64

_Words = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What tells a picture from others.

    Attributes:
        exact: SHA-256 of the file's content, 32 bytes.
        perceptual: 256 bits, those of the 64 lowest frequencies first; None for plain pictures.
        tolerance: in how many of them a near-duplicate may differ; between two pictures the lesser counts.
    """

    exact: bytes
    perceptual: bytes | None
    tolerance: int


def fingerprint_of(data: bytes, image: UInt8Image) -> Fingerprint:
    """The fingerprint of a picture.

    Args:
        data: the file's content.
        image: what it is when decoded: RGB uint8 (H, W, 3).

    Example:
        >>> black = np.zeros((40, 60, 3), np.uint8)
        >>> fingerprint_of(b"...", black).perceptual is None
        True
        >>> noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
        >>> len(fingerprint_of(b"...", noise).perceptual)
        32
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    fields = cv2.resize(grey, (_FIELDS, _FIELDS), interpolation=cv2.INTER_AREA)
    coefficients = cv2.dct(fields)[:_SIDE, :_SIDE]
    coefficients[0, 0] = 0  # the mean brightness
    plain = np.count_nonzero(np.abs(coefficients) > _AUDIBLE) < _FEWEST_AUDIBLE
    signs = coefficients > 0
    low = signs[:_COARSE_SIDE, :_COARSE_SIDE]
    rest = (signs[:_COARSE_SIDE, _COARSE_SIDE:], signs[_COARSE_SIDE:])
    bits = np.concatenate([part.ravel() for part in (low, *rest)])
    return Fingerprint(
        hashlib.sha256(data).digest(),
        None if plain else np.packbits(bits).tobytes(),
        _SMALL_TOLERANCE if max(image.shape[:2]) <= _FIELDS else _TOLERANCE,
    )


def fingerprints(samples: Sequence[Sample], advance: Callable[[int], None]) -> list[Fingerprint | None]:
    """The fingerprints of a data set's pictures, each decoded once, a few at a time.

    Args:
        samples: the samples.
        advance: called with 1 after each of them.

    Returns:
        One for each sample, in order; None where the picture cannot be read, or is made when it is read and so lies
        in no file: whoever makes pictures knows which of them are the same.
    """
    found = []
    for fingerprint in map_ahead(_read, samples, default_readers()):
        found.append(fingerprint)
        advance(1)
    return found


def exact_duplicates(fingerprints: Sequence[Fingerprint | None]) -> list[list[int]]:
    """Groups of pictures whose files are equal byte for byte.

    Args:
        fingerprints: those of a data set's pictures; None is equal to nothing.

    Returns:
        Indices, two or more in a group, sorted; groups sorted by their first index.

    Example:
        >>> one, other = Fingerprint(b"1", None, 40), Fingerprint(b"2", None, 40)
        >>> exact_duplicates([one, other, None, one, None])
        [[0, 3]]
    """
    groups = defaultdict(list)
    for index, each in enumerate(fingerprints):
        if each is not None:
            groups[each.exact].append(index)
    return [group for group in groups.values() if len(group) > 1]


def near_duplicates(fingerprints: Sequence[Fingerprint | None]) -> list[list[int]]:
    """Groups of pictures that are nearly the same, each with the next if not each with all: exact duplicates, too.

    Every picture is compared with every other, in a second for 20,000 pictures and some ten for 100,000, in the memory
    of one against all.

    Args:
        fingerprints: those of a data set's pictures; None is equal to nothing.

    Returns:
        Indices, two or more in a group, sorted; groups sorted by their first index.
    """
    # Thousands of equal pictures are compared as one; plain ones by their digests, with a tolerance that nothing meets.
    alike: dict[tuple[bytes, int], list[int]] = defaultdict(list)
    for index, each in enumerate(fingerprints):
        if each is not None:
            alike[each.perceptual or each.exact, each.tolerance if each.perceptual else -1].append(index)
    hashes = np.array([np.frombuffer(key, np.uint64) for key, _ in alike], np.uint64).reshape(-1, 4)
    tolerances = np.array([tolerance for _, tolerance in alike], np.int64)
    groups: dict[int, list[int]] = defaultdict(list)
    for label, members in zip(_components(hashes, tolerances).tolist(), alike.values(), strict=True):
        groups[label] += members
    return sorted(sorted(group) for group in groups.values() if len(group) > 1)


def _components(hashes: _Words, tolerances: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Label the connected components of being nearly the same: hashes (N, 4), tolerances (N,) -> labels (N,)."""
    labels = np.arange(len(hashes))
    coarse = np.ascontiguousarray(hashes[:, 0])
    for index in range(len(hashes) - 1):
        alike = np.bitwise_count(coarse[index + 1 :] ^ coarse[index]) <= _COARSE_TOLERANCE
        others = index + 1 + np.flatnonzero(alike)
        others = others[labels[others] != labels[index]]
        if len(others):
            differing = np.bitwise_count(hashes[others] ^ hashes[index]).sum(axis=1)
            near = labels[others[differing <= np.minimum(tolerances[others], tolerances[index])]]
            labels[np.isin(labels, near)] = labels[index]
    return labels


def _read(sample: Sample) -> Fingerprint | None:
    if sample.file is None:
        return None
    try:
        data = sample.file.read_bytes()
    except OSError:
        return None
    image = decode(data).image
    return None if image is None else fingerprint_of(data, image)
