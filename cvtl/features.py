"""What a backbone sees in pictures, as vectors: computed once, kept in the feature cache.

A frozen backbone gives a picture the same features in every epoch, for every head and every division of the data.
Donahue et al. 2014 (DeCAF, arXiv 1310.1531) classify by such features.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from cvtl.backbones import Backbone
from cvtl.backbones.backbone import find_stage
from cvtl.data import Sample, UInt8Image
from cvtl.devices import mixed_precision
from cvtl.errors import CvtlError, DataError
from cvtl.feature_cache import FeatureCache, VectorSpace
from cvtl.file_digests import file_digests
from cvtl.images import decode_file, read_file
from cvtl.preprocessing import InputSpec, normalize, resize
from cvtl.progress import Progress
from cvtl.run_settings import default_readers

Pooling = Literal["average", "max", "grid"]

_GRID = 2
# Of a pass on a CPU; that many at a time fit its caches best, and are a batch of 4 at 224 x 224.
_CPU_PIXELS = 4 * 224 * 224
# Pictures are looked up in the cache shortly before they are decoded, while the system still has their files in memory.
_LOOKED_UP_TOGETHER = 256
# Batches a thread that are begun before the first is asked for.
_AHEAD = 2


@dataclass(frozen=True)
class FeatureSpace:
    """Where features come from.

    Attributes:
        stage: of the backbone, whose map they are taken from.
        pooling: how the map becomes a vector.
    """

    stage: str
    pooling: Pooling = "average"


@dataclass(frozen=True)
class Features:
    """The features of N pictures.

    Attributes:
        vectors: float32 (N, D) for each space; the rows of pictures that cannot be read are NaN.
        errors: why a picture cannot be read, by its index.
        computed: pictures that went through the network.
        reused: pictures whose features were in the cache.
    """

    vectors: Mapping[FeatureSpace, npt.NDArray[np.float32]]
    errors: Mapping[int, CvtlError] = field(default_factory=dict)
    computed: int = 0
    reused: int = 0

    def matrix(self, spaces: Sequence[FeatureSpace]) -> npt.NDArray[np.float32]:
        """The features of several spaces side by side, (N, sum of their D).

        Example:
            >>> average, largest = FeatureSpace("layer4"), FeatureSpace("layer4", "max")
            >>> Features({average: np.zeros((3, 2)), largest: np.ones((3, 2))}).matrix([average, largest])[0]
            array([0., 0., 1., 1.])
        """
        return np.concatenate([self.vectors[space] for space in spaces], axis=1)


def pool(maps: Tensor, pooling: Pooling) -> Tensor:
    """Make one vector of each map.

    Args:
        maps: (N, C, h, w).
        pooling: `average` and `max` over all positions; `grid`: the averages of the four quarters.

    Returns:
        (N, `width(C, pooling)`); of a grid each channel's quarters in a row, from the top left to the bottom right.

    Example:
        >>> pool(torch.arange(16.0).view(1, 1, 4, 4), "grid")
        tensor([[ 2.5000,  4.5000, 10.5000, 12.5000]])
    """
    match pooling:
        case "average":
            return maps.mean(dim=(2, 3))
        case "max":
            return maps.amax(dim=(2, 3))
        case "grid":
            return F.adaptive_avg_pool2d(maps, _GRID).flatten(1)


def width(channels: int, pooling: Pooling) -> int:
    """D, the numbers in a vector that `pool` makes of a map.

    Example:
        >>> width(512, "grid")
        2048
    """
    return channels * _GRID**2 if pooling == "grid" else channels


def backbone_digest(backbone: Backbone, stage: str) -> str:
    """SHA-256 over all that the map of a stage depends on: the layers up to it, their parameters and buffers.

    Later stages, and whether the backbone is cut, make no difference. A backbone that is no chain (`body` is None)
    counts as a whole.

    Raises:
        UsageError: there is no such stage; those there are are listed.
    """
    chain = backbone if backbone.body is None else backbone.cut(stage).body
    assert chain is not None
    # The layers' names, kinds, kernel sizes and strides.
    state = hashlib.sha256(f"{backbone.name}\n{chain!r}".encode())
    for name, tensor in chain.state_dict().items():
        state.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        state.update(tensor.detach().cpu().numpy().tobytes())
    return state.hexdigest()


def extract(
    backbone: Backbone,
    samples: Sequence[Sample],
    spaces: Sequence[FeatureSpace],
    *,
    input: InputSpec,
    cache: FeatureCache | None = None,
    device: str | torch.device = "cpu",
    batch_size: int = 32,
    progress: Progress | None = None,
) -> Features:
    """The features of pictures, those that the cache has from there, the others by one pass through the backbone.

    Pictures are read, looked up, decoded and computed as a stream, by several threads: memory does not grow with their
    number but for the features. Batches are of one shape, the last one padded, and on a CPU one thread passes each
    through the network: a picture's features are the same to the bit whatever else is asked for, on however many cores.
    Pictures that are made when they are read are not looked up and not kept.

    Args:
        backbone: is moved to the device, and is in evaluation mode meanwhile.
        samples: the pictures, in the order of the rows.
        spaces: which features; their stages share one pass.
        input: the network's.
        cache: where features are looked up and kept.
        device: where to compute.
        batch_size: pictures that go through the network together on a GPU; a CPU has a size of its own.
        progress: is told of each picture that is done; whoever calls starts and finishes it.

    Raises:
        UsageError: the backbone has no such stage.

    Example:
        >>> from cvtl import backbones
        >>> grey = Sample("grey.png", lambda: np.full((40, 60, 3), 128, np.uint8))
        >>> lenet, space = backbones.load("lenet5"), FeatureSpace("conv2")
        >>> extract(lenet, [grey], [space], input=lenet.input).vectors[space].shape
        (1, 16)
    """
    device = torch.device(device)
    network = _Network(backbone, tuple(dict.fromkeys(spaces)), input, device, batch_size)
    kept = None if cache is None else _Kept(cache, network.keys(), network.spaces)
    found = {space: np.full((len(samples), size), np.nan, np.float32) for space, size in network.widths.items()}
    errors: dict[int, CvtlError] = {}
    computed = reused = 0
    with network.ready(), cache or nullcontext(), closing(_blocks(samples, network, kept)) as blocks:
        for block in blocks:
            for space, rows in block.vectors.items():
                found[space][block.indices] = rows
            errors |= block.errors
            computed += 0 if block.reused else len(block.indices)
            reused += len(block.indices) if block.reused else 0
            if progress is not None:
                progress.advance(len(block.indices) + len(block.errors))
    return Features(found, errors, computed, reused)


@dataclass(frozen=True)
class _Block:
    """Some of the pictures and their features.

    Attributes:
        indices: of those that could be read.
        vectors: their rows of each space.
        errors: of the others, by their indices.
        reused: whether the features come from the cache.
    """

    indices: Sequence[int]
    vectors: Mapping[FeatureSpace, npt.NDArray[np.float32]]
    errors: Mapping[int, CvtlError] = field(default_factory=dict)
    reused: bool = False


class _Network:
    """A backbone that threads pass batches of one shape through.

    On a CPU each core has a batch of its own: it need not wait for the others after every layer, as cores that share
    the work on one batch do, and how the work is divided, which the last digits depend on, is always the same.
    """

    def __init__(
        self,
        backbone: Backbone,
        spaces: tuple[FeatureSpace, ...],
        input: InputSpec,
        device: torch.device,
        batch_size: int,
    ) -> None:
        names = [stage.name for stage in backbone.stages]
        last = max(find_stage(space.stage, names, backbone.name) for space in spaces)
        channels = {stage.name: stage.channels for stage in backbone.stages}
        self.backbone = backbone if last == len(names) - 1 else backbone.cut(names[last])
        self.spaces = spaces
        self.widths = {space: width(channels[space.stage], space.pooling) for space in spaces}
        self.input = input
        self.device = device
        on_cpu = device.type == "cpu"
        self.batch = max(1, _CPU_PIXELS // math.prod(input.size_hw)) if on_cpu else batch_size
        self.passes = torch.get_num_threads() if on_cpu else 1
        self._room = threading.Semaphore(self.passes)

    def keys(self) -> list[VectorSpace]:
        """What the cache knows its spaces as."""
        digests = {space.stage: backbone_digest(self.backbone, space.stage) for space in self.spaces}
        rule = f"{self.input.model_dump_json()} {torch.__version__} {self.device.type}"
        size = " x ".join(map(str, self.input.size_hw))
        return [
            VectorSpace(
                key=hashlib.sha256(f"{digests[space.stage]} {space.stage} {space.pooling} {rule}".encode()).hexdigest(),
                backbone=self.backbone.name,
                weights=digests[space.stage][:8],
                stage=space.stage,
                pooling=space.pooling,
                input=f"{size}, {self.input.resize}",
            )
            for space in self.spaces
        ]

    @contextmanager
    def ready(self) -> Iterator[None]:
        """The backbone on the device and in evaluation mode; behind it as it was, but on the device."""
        training = self.backbone.training
        self.backbone.eval().to(self.device).to(memory_format=torch.channels_last)
        try:
            with mixed_precision(self.device, "float32"):
                yield
        finally:
            self.backbone.train(training)

    def features(self, images: Sequence[Tensor]) -> dict[FeatureSpace, npt.NDArray[np.float32]]:
        """The features of at most `batch` pictures, uint8 (3, *input.size_hw)."""
        batch = torch.zeros(self.batch, 3, *self.input.size_hw, dtype=torch.uint8)
        torch.stack(list(images), out=batch[: len(images)])
        with self._room, torch.inference_mode():
            batch = batch.to(self.device).contiguous(memory_format=torch.channels_last)
            maps = self._maps(normalize(batch, self.input))
            pooled = {space: pool(maps[space.stage], space.pooling) for space in self.spaces}
            return {space: rows[: len(images)].float().cpu().numpy() for space, rows in pooled.items()}

    def _maps(self, images: Tensor) -> dict[str, Tensor]:
        last = self.backbone.stages[-1].name
        # Maps of earlier stages that nobody asked for need not be held.
        if {space.stage for space in self.spaces} == {last}:
            return {last: self.backbone(images)}
        return self.backbone.features(images)


class _Kept:
    """The cache, asked about pictures in all spaces at once."""

    def __init__(self, cache: FeatureCache, keys: Sequence[VectorSpace], spaces: Sequence[FeatureSpace]) -> None:
        self._cache = cache
        self._keys = dict(zip(spaces, keys, strict=True))

    def find(self, indices: Sequence[int], samples: Sequence[Sample], pool: ThreadPoolExecutor) -> _Block:
        """Those of the pictures that have vectors in every space; files that have to be read are, by the pool."""
        digests = file_digests([samples[index].file for index in indices], self._cache, pool.map)
        asked = [digest for digest in digests if digest is not None]
        known = {space: self._cache.get(key, asked) for space, key in self._keys.items()}
        pairs = [
            (index, digest)
            for index, digest in zip(indices, digests, strict=True)
            if digest is not None and all(digest in vectors for vectors in known.values())
        ]
        rows = {space: np.array([vectors[digest] for _, digest in pairs]) for space, vectors in known.items()}
        return _Block([index for index, _ in pairs], rows if pairs else {}, reused=True)

    def keep(self, digests: Sequence[bytes | None], rows: Mapping[FeatureSpace, npt.NDArray[np.float32]]) -> None:
        """Put vectors into the cache, but those of pictures that have no digest."""
        self._cache.put(
            {
                key: {digest: row for digest, row in zip(digests, rows[space], strict=True) if digest is not None}
                for space, key in self._keys.items()
            }
        )


def _blocks(samples: Sequence[Sample], network: _Network, kept: _Kept | None) -> Generator[_Block, None, None]:
    """All pictures, those that are in the cache first, as far ahead as keeps the threads busy."""
    threads = torch.get_num_threads()
    workers = max(network.passes, default_readers())
    pool = ThreadPoolExecutor(workers, "cvtl-features", torch.set_num_threads, (1,))
    running: deque[Future[_Block]] = deque()
    missing: list[int] = []
    try:
        for first in range(0, len(samples), _LOOKED_UP_TOGETHER):
            indices: Sequence[int] = range(first, min(first + _LOOKED_UP_TOGETHER, len(samples)))
            if kept is not None:
                block = kept.find(indices, samples, pool)
                if block.indices:
                    yield block
                indices = sorted(set(indices).difference(block.indices))
            missing += indices
            at_end = first + _LOOKED_UP_TOGETHER >= len(samples)
            while len(missing) >= (1 if at_end else network.batch):
                together, missing = missing[: network.batch], missing[network.batch :]
                running.append(pool.submit(_compute, [(i, samples[i]) for i in together], network, kept))
                if len(running) >= _AHEAD * workers:
                    yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        # Threads that start later would otherwise have as few as ours.
        torch.set_num_threads(threads)


def _compute(pictures: Sequence[tuple[int, Sample]], network: _Network, kept: _Kept | None) -> _Block:
    images: dict[int, Tensor] = {}
    digests: list[bytes | None] = []
    errors: dict[int, CvtlError] = {}
    for index, sample in pictures:
        try:
            image, digest = _read(sample)
        except DataError as error:
            errors[index] = error
            continue
        images[index] = resize(torch.from_numpy(image).permute(2, 0, 1), network.input)
        digests.append(digest)
    if not images:
        return _Block([], {}, errors)
    rows = network.features(list(images.values()))
    if kept is not None:
        kept.keep(digests, rows)
    return _Block(list(images), rows, errors)


def _read(sample: Sample) -> tuple[UInt8Image, bytes | None]:
    """A picture, and the digest of the very bytes that it was decoded from."""
    if sample.file is None:
        return sample.read(), None
    data = read_file(sample.file)
    return decode_file(data, sample.file), hashlib.sha256(data).digest()
