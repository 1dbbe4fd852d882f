"""What happens to a block of inputs, wherever it happens: decode, copy to the device, predict."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from cvtl.answering import Answering
from cvtl.devices import Upload, Uploader
from cvtl.errors import CvtlError
from cvtl.images import Decoded
from cvtl.profiling import Profile
from cvtl.results import Picture, Row
from cvtl.sources import Item
from cvtl.tiling import Tiled
from cvtl.workplace import Workplace
from cvtl.writers import Outcome

if TYPE_CHECKING:
    from cvtl.results import Result

_LONGEST_ERROR = 300


@dataclass(frozen=True)
class Block:
    """A batch's worth of the input order.

    Attributes:
        items: the inputs.
        decoded: what became of each; without a picture where it is bad.
        upload: the good pictures, on their way to the device.
    """

    items: list[Item]
    decoded: list[Decoded]
    upload: Upload


class BlockWork:
    """Decodes and answers blocks of inputs.

    Args:
        answering: what answers.
        profile: is told where the time goes.
        place: gives a model that takes minutes a place for what it has of an input so far.
        follow: makes of a result what earlier frames say of it, too; called in the order of the inputs.
    """

    def __init__(
        self,
        answering: Answering,
        profile: Profile,
        *,
        place: Callable[[Item], Workplace] | None = None,
        follow: Callable[[Item, Decoded, Result], Result] | None = None,
    ) -> None:
        self.answering = answering
        self.profile = profile
        self._settings = answering.settings
        self._place = place
        self._follow = follow
        self._uploader = Uploader(answering.predictor.model.device)
        # Pictures that are tiled may be so large that each of them counts.
        self._ahead = 1 if isinstance(answering.predictor.model, Tiled) else 2

    def decode(self, item: Item) -> Decoded:
        """Read and decode one input."""
        return item.load(max_pixels=self._settings.max_pixels, profile=self.profile)

    def block(self, items: list[Item], decoded: list[Decoded]) -> Block:
        """A block of inputs, its pictures sent off to the device."""
        with self.profile.measure("copy"):
            upload = self._uploader.upload([each.image for each in decoded if each.image is not None])
        return Block(items, decoded, upload)

    def blocks(self, items: Iterable[Item], pool: ThreadPoolExecutor) -> Iterator[Block]:
        """Blocks of the input order, decoded beside each other, ahead of what is asked for."""
        items = iter(items)
        waiting: deque[list[tuple[Item, Future[Decoded]]]] = deque()
        while True:
            while len(waiting) < self._ahead and (block := list(islice(items, self.answering.block))):
                waiting.append([(item, pool.submit(self.decode, item)) for item in block])
            if not waiting:
                return
            pairs = waiting.popleft()
            yield self.block([item for item, _ in pairs], [future.result() for _, future in pairs])

    def answer(self, block: Block) -> list[Outcome]:
        """What the model says of each input."""
        with self.profile.measure("predict"):
            images = block.upload.wait()
            good = [item for item, decoded in zip(block.items, block.decoded, strict=True) if decoded.image is not None]
            places = [] if self._place is None else list(map(self._place, good))
            answers = iter(self.answering.predictor.predict(images, places) if images else [])
        return [
            self._outcome(item, decoded, None if decoded.image is None else next(answers))
            for item, decoded in zip(block.items, block.decoded, strict=True)
        ]

    def _outcome(self, item: Item, decoded: Decoded, answer: Result | Exception | None) -> Outcome:
        failed = isinstance(answer, Exception)
        result = None if answer is None or isinstance(answer, Exception) else answer
        if result is not None and self._follow is not None:
            result = self._follow(item, decoded, result)
        row = Row(
            source=item.source,
            frame=item.frame,
            time=item.time,
            status="failed" if failed else decoded.status,
            error=_describe(answer) if isinstance(answer, Exception) else decoded.error,
            width=decoded.width,
            height=decoded.height,
            task=self.answering.task,
            result=None if result is None else result.to_dict(),
        )
        drawn = self._settings.draws or isinstance(result, Picture)
        image = decoded.image if drawn else None
        return Outcome(row, image, result if drawn else None, rate=item.rate, arrived=item.arrived)


def _describe(error: Exception) -> str:
    """One short line, the same every time."""
    text = error.what if isinstance(error, CvtlError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:_LONGEST_ERROR]
