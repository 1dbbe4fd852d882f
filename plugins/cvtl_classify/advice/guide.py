"""The two-by-two table of the lectures: how much data there are, against how similar they are to what is known.

After the course notes CS231n (Stanford, "Transfer Learning"), which rest on Yosinski et al. (arXiv 1411.1792): early
layers are general, late ones specific to what the network was trained on; few data overfit whatever learns from them.
"""

from __future__ import annotations

from dataclasses import dataclass

from cvtl_classify.advice.similarity import SIMILAR
from cvtl_classify.options import ClassifyOptions

LARGE = 500
"""Pictures a class from which on data are called large; ImageNet has about 1,300, CIFAR-10 5,000."""


@dataclass(frozen=True)
class Quadrant:
    """Where data stand in the table.

    Attributes:
        large: whether there are `LARGE` pictures a class, or more.
        similar: whether they lie no farther from natural photographs than `SIMILAR`.

    Example:
        >>> Quadrant(large=False, similar=True).advice
        'a linear head on the last stage'
    """

    large: bool
    similar: bool

    @property
    def advice(self) -> str:
        """What the table says to do."""
        if self.large:
            return "fine-tune the last stages, or all" if self.similar else "train all of it, from the given weights"
        return "a linear head on the last stage" if self.similar else "a linear head or SVM on earlier stages"

    @property
    def name(self) -> str:
        """How the quadrant is called."""
        return f"{'large' if self.large else 'small'} and {'similar' if self.similar else 'different'}"

    def agrees(self, chosen: ClassifyOptions) -> bool:
        """Whether a strategy is what the table advises."""
        if self.large:
            return chosen.strategy in (("finetune", "full") if self.similar else ("full", "scratch"))
        earlier = chosen.cut is not None or chosen.stages == "all"
        return chosen.strategy in ("features", "augmented") and earlier != self.similar


def quadrant(pictures_per_class: int, distance: float) -> Quadrant:
    """Where data stand.

    Args:
        pictures_per_class: the median over the classes.
        distance: the mean over the stages, as `cvtl_classify.advice.similarity` has it.
    """
    return Quadrant(large=pictures_per_class >= LARGE, similar=distance <= SIMILAR)
