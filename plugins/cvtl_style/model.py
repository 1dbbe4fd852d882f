"""The model that is trained: it paints in one style, in a single pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from torch import Tensor
from torch.nn.functional import pad

from cvtl.data import Dataset
from cvtl.model import Model
from cvtl.preprocessing import InputSpec, normalize
from cvtl.results import Picture, Result
from cvtl_style import pictures
from cvtl_style.critic import Critic
from cvtl_style.network import LEAST_SIDE, STRIDE, PaintingNetwork
from cvtl_style.options import StyleOptions

if TYPE_CHECKING:
    from cvtl.training.folder import TrainRun
    from cvtl.training.settings import TrainSettings


class StyleModel(Model):
    """Paints pictures of any size in the style it has learnt (Johnson et al., arXiv 1603.08155).

    Args:
        options: as they were given.
        classes: there are none.
        input: the preprocessing, at the size of the training pictures.

    Attributes:
        network: what paints.
        critic: what it learns from; None outside of a training.
    """

    plugin: ClassVar[str] = "style"
    options: StyleOptions
    critic: Critic | None

    def __init__(self, options: StyleOptions, classes: Sequence[str], input: InputSpec) -> None:
        super().__init__(options, classes, input)
        self.network = PaintingNetwork(options.channels, options.blocks)
        self.critic = None

    @classmethod
    def initialize(cls, options: StyleOptions, classes: Sequence[str]) -> Self:  # type: ignore[override]
        """A new model for training; classes, if the data have some, are not looked at.

        Raises:
            UsageError: the options do not say where the backbone's weights come from, or name layers they cannot serve.
            WeightsError: the weights do not fit the backbone.
            DataError: a style picture cannot be read.
        """
        from cvtl_style.painter import looking

        network, terms = looking(options)
        styles = [(pictures.read_picture(path), weight) for path, weight in options.styles]
        size = {"size_hw": (options.size, options.size), "resize": "crop"}
        model = cls(options, (), network.input.model_copy(update=size))
        model.critic = Critic(network, terms, styles, options.size)
        return model

    def fit(self, train_data: Dataset, val_data: Dataset, settings: TrainSettings, run: TrainRun) -> None:
        """Train with the core's loop, over pictures decoded once where memory allows it."""
        from cvtl.terminal_progress import shown_progress
        from cvtl.training.memory import in_memory
        from cvtl_style.samples import sample_spec

        if run.is_over:
            return
        with shown_progress(len(train_data) + len(val_data), quiet=run.console.quiet, noun="pictures") as progress:
            train_data = in_memory(train_data, sample_spec(self.input), progress=progress)
            val_data = in_memory(val_data, self.input, progress=progress)
        super().fit(train_data, val_data, settings, run)

    def training_samples(self, data: Dataset, *, epoch: int, seed: int) -> Sequence[tuple[Tensor, None]]:
        """Parts of the pictures, mirrored or not."""
        from cvtl_style.samples import TrainingSamples

        return TrainingSamples(data, self.input, seed=seed, epoch=epoch)

    def validation_samples(self, data: Dataset, *, seed: int) -> Sequence[tuple[Tensor, None]]:
        """The middles of the pictures."""
        from cvtl_style.samples import ValidationSamples

        return ValidationSamples(data, self.input)

    def loss(self, images: Tensor, targets: Sequence[Any]) -> dict[str, Tensor]:
        """The terms of J of the painted pictures (`cvtl_style.critic`)."""
        assert self.critic is not None, "weights that were loaded have no critic"
        painted = pictures.from_unit(self.network(images), self.input)
        terms: dict[str, Tensor] = self.critic(painted, images)
        return terms

    def assess(
        self, images: Tensor, targets: Sequence[Any], *, training: bool
    ) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """The loss, and its terms as figures."""
        terms = self.loss(images, targets)
        return terms, {f"{name}_loss": value.detach() for name, value in terms.items()}

    def saved_state(self) -> Mapping[str, Tensor]:
        """What paints; the critic is a training's own."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("critic.")}

    def predict(self, images: Sequence[Tensor]) -> list[Result]:
        """Each picture, painted."""
        return [Picture(self._painted(image)) for image in images]

    def _painted(self, image: Tensor) -> Tensor:
        if self.options.predict.size is not None:
            image = pictures.at_size(
                image, pictures.fitted_hw((image.shape[1], image.shape[2]), self.options.predict.size)
            )
        height, width = image.shape[1:]
        right, bottom = (max(LEAST_SIDE, -(-side // STRIDE) * STRIDE) - side for side in (width, height))
        seen = pad(normalize(image, self.input)[None], (0, right, 0, bottom), mode="replicate")
        painted = self.network(seen)[0, :, :height, :width].float()
        if not bool(painted.isfinite().all()):
            raise ValueError("the network's output is not finite")
        return pictures.to_bytes(painted)
