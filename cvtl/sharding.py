"""Parts of a run that need not know of one another: every n-th block of the one input order. Torch-free.

Whoever walks the same inputs in the same order agrees on which blocks there are, so nothing has to be handed out. What
each shard has seen of the inputs it writes down, and `cvtl.merging` holds it against the others'.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from cvtl.errors import UsageError

if TYPE_CHECKING:
    from cvtl.run_settings import RunSettings
    from cvtl.sources import Item

_SHARD = re.compile(r"([1-9]\d*)/([1-9]\d*)")


@dataclass(frozen=True)
class Shard:
    """One of the parts that a run is divided into.

    Attributes:
        number: from 1.
        of: parts in all.

    Example:
        >>> shard = Shard.parse("2/3")
        >>> shard.share(20, block=8), str(shard)
        (8, '2/3')
    """

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read `i/n`.

        Raises:
            ValueError: it is not that, or i is not among 1 to n.
        """
        found = _SHARD.fullmatch(text)
        if found is None or int(found[1]) > int(found[2]):
            raise ValueError("it should be i/n, with i from 1 to n, such as 2/8")
        return cls(int(found[1]), int(found[2]))

    def share(self, inputs: int, block: int) -> int:
        """How many of `inputs` fall to it, in blocks of `block`."""
        whole, rest = divmod(inputs, block)
        last = rest if whole % self.of == self.number - 1 else 0
        return len(range(self.number - 1, whole, self.of)) * block + last

    def pick(self, items: Iterator[Item], block: int, at_end: Callable[[Walked], None]) -> Iterator[Item]:
        """Its inputs among all of them; the others are walked past, and none of them is opened.

        Args:
            items: every input, in order. Frames of a video come decoded, whoever looks at them.
            block: inputs that are looked at together.
            at_end: is told what the walk has seen, once it has seen everything.
        """
        names, seen, number = hashlib.sha256(), 0, 0
        while inputs := list(islice(items, block)):
            for item in inputs:
                names.update(f"{item.source}\0{item.frame}\n".encode(errors="backslashreplace"))
            seen, number = seen + len(inputs), number + 1
            if (number - self.number) % self.of == 0:
                yield from inputs
        at_end(Walked(seen, block, names.hexdigest()))


@dataclass(frozen=True)
class Walked:
    """What a shard has seen of all inputs, its own and the others'; the same in every shard of a run.

    Attributes:
        inputs: how many there are.
        block: how many are looked at together.
        sha256: of their names, in order.
    """

    inputs: int
    block: int
    sha256: str


def require_shardable(settings: RunSettings, *, live: bool, follows: bool = False) -> None:
    """See to it that parts of a run give what the whole would.

    Raises:
        UsageError: the run looks at live sources, or writes or follows videos, whose frames several shards would have.
    """
    if settings.shard is None:
        return
    hint = "Leave --shard out"
    if live:
        raise UsageError("--shard is for inputs that stay as they are, not for cameras and streams", hint=hint)
    if settings.save_video:
        raise UsageError("--shard cannot be had with --save-video: a video needs all its frames", hint=hint)
    if follows:
        what = "--track, --zones and --smooth"
        raise UsageError(f"--shard cannot be had with {what}: what is followed needs all frames", hint=hint)


def sharded(items: Iterator[Item], settings: RunSettings, block: int, write_down: Callable[..., Any]) -> Iterator[Item]:
    """The inputs that fall to the shard that `settings` name; all of them if they name none.

    Args:
        items: every input, in order.
        settings: of the run.
        block: inputs that are looked at together.
        write_down: is called with `walked={...}` at the end of the walk.
    """
    if settings.shard is None:
        return items
    return Shard.parse(settings.shard).pick(items, block, lambda walked: write_down(walked=vars(walked)))
