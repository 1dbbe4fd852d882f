"""The model that paints by optimisation: it is made of options, and nothing is trained."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from cvtl import backbones, weights
from cvtl.errors import CvtlWarning
from cvtl.making import Made
from cvtl.model import ComposedModel
from cvtl.results import Picture, Result
from cvtl.workplace import Workplace
from cvtl_style.layers import FeatureNetwork, Layers, digest
from cvtl_style.objective import Terms
from cvtl_style.options import LookingOptions, PaintOptions
from cvtl_style.painting import Scene, StyleSource, paint
from cvtl_style.pictures import read_mask, read_picture

NO_MASK = "none"


class Painter(ComposedModel):
    """Paints pictures in the style of others, each by an optimisation of its own (Gatys et al., arXiv 1508.06576).

    Args:
        options: how.
        network: what looks.
        terms: of J.
        styles: the style pictures.
        mask: uint8 (1, H, W), where painting may change something; None for everywhere.
    """

    plugin: ClassVar[str] = "style"
    options: PaintOptions

    def __init__(
        self,
        options: PaintOptions,
        network: FeatureNetwork,
        terms: Terms,
        styles: Sequence[StyleSource],
        mask: Tensor | None = None,
    ) -> None:
        super().__init__(options, (), network.input)
        self.network = network
        self.terms = terms
        self.styles = tuple(styles)
        self.mask = mask
        # Holds nothing: it goes where the model is sent, even where the network has no weights.
        self.register_buffer("_place", torch.empty(0), persistent=False)

    def predict(self, images: Sequence[Tensor]) -> list[Result]:
        """Each picture, painted."""
        return [self._painted(image, None) for image in images]

    def predict_in_steps(self, images: Sequence[Tensor], places: Sequence[Workplace]) -> list[Result]:
        """Each picture, painted; what there is so far is kept, and gone on from."""
        return [self._painted(image, place) for image, place in zip(images, places, strict=True)]

    def _painted(self, image: Tensor, place: Workplace | None) -> Picture:
        device = image.device
        styles = [
            StyleSource(each.image.to(device), each.weight, None if each.mask is None else each.mask.to(device))
            for each in self.styles
        ]
        mask = None if self.mask is None else self.mask.to(device)
        # What is made in inference mode cannot be differentiated.
        with torch.inference_mode(False):
            return Picture(paint(image.clone(), Scene(self.network, self.terms, self.options, styles, mask), place))


def make(options: PaintOptions) -> Made:
    """Make a painter.

    Raises:
        UsageError: the options do not say where the backbone's weights come from, or name layers they cannot serve.
        WeightsError: the weights do not fit the backbone.
        DataError: a style picture or a mask cannot be read.
    """
    network, terms = looking(options)
    named = options.styles
    masks = options.style_mask or (NO_MASK,) * len(named)
    styles = [
        StyleSource(read_picture(path), weight, None if mask == NO_MASK else read_mask(mask))
        for (path, weight), mask in zip(named, masks, strict=True)
    ]
    mask = None if options.mask is None else read_mask(options.mask)
    files = [path for path, _ in named] + [path for path in (*masks, options.mask) if path not in (NO_MASK, None)]
    identity = {"network": digest(network), "files": [weights.digest(path) for path in files if path]}
    return Made(Painter(options, network, terms, styles, mask), identity)


def looking(options: LookingOptions) -> tuple[FeatureNetwork, Terms]:
    """The network that looks, cut behind the deepest layer that is needed, and what of it counts how much.

    Where the weights do not reach the usual layers, a `CvtlWarning` says which are taken.
    """
    found = backbones.chosen_weights(options.weights, options.backbone)
    with torch.random.fork_rng(devices=[]):
        # Random weights are the same every time, or a resumed run would be another one.
        torch.manual_seed(0)
        layers = Layers(options.backbone, found, pooling=options.pooling)
    wanted = options.layer_weights
    style = layers.style_layers(None if wanted is None else list(wanted))
    content = layers.content_layer(options.content_layer)
    if layers.unreached and (wanted is None or options.content_layer is None):
        warnings.warn(
            CvtlWarning(
                f"the weights reach no further than '{layers.served[-1]}': the style is compared at "
                f"{', '.join(style)}, the content at {content}"
            ),
            stacklevel=2,
        )
    counts = wanted or dict.fromkeys(style, 1.0)
    whole = sum(counts.values())
    terms = Terms(
        alpha=options.alpha,
        beta=options.beta,
        variation=options.variation,
        content_layer=content,
        style_layers={name: counts[name] / whole for name in style if counts[name]},
    )
    return layers.cut(terms.layers), terms
