"""What a painting network learns from: the loss of Gatys et al. for batches, with one style for all."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cvtl_style import pictures
from cvtl_style.layers import FeatureNetwork
from cvtl_style.losses import content_loss, gram_loss, gram_matrix, total_variation
from cvtl_style.objective import Terms


class Critic(nn.Module):
    """The terms of J of painted pictures.

    Args:
        network: what looks.
        terms: what counts how much.
        styles: uint8 (3, H, W) each, with a weight.
        side: longer side in pixels that the style pictures are brought to.
    """

    def __init__(
        self, network: FeatureNetwork, terms: Terms, styles: Sequence[tuple[Tensor, float]], side: int
    ) -> None:
        super().__init__()
        self.network = network
        self.terms = terms
        grams: dict[str, Tensor] = {}
        sizes: dict[str, float] = {}
        whole = sum(weight for _, weight in styles)
        for image, weight in styles:
            image_hw = pictures.fitted_hw((image.shape[1], image.shape[2]), side)
            with torch.no_grad():
                maps = network(pictures.to_network(pictures.at_size(image, image_hw), network.input))
            for name, found in maps.items():
                # The mean of the Gram matrices is what the weighted sum of the losses pulls to.
                grams[name] = grams.get(name, 0) + weight / whole * _gram(found[0])
                sizes[name] = sizes.get(name, 0.0) + float(found.abs().mean()) / len(styles)
        self.scales = {name: max(size, 1e-6) for name, size in sizes.items()}
        for name in terms.style_layers:
            self.register_buffer(_key(name), grams[name] / self.scales[name] ** 2)

    def forward(self, painted: Tensor, contents: Tensor) -> dict[str, Tensor]:
        """`content`, `style` and `variation`: means over the batch.

        Args:
            painted: (N, 3, H, W), normalised.
            contents: of the same shape.
        """
        terms = self.terms
        maps = self._seen(painted)
        with torch.no_grad():
            wanted = self._seen(contents)[terms.content_layer]
        content = terms.alpha * content_loss(wanted.flatten(0, 1), maps[terms.content_layer].flatten(0, 1))
        style = [
            weight * gram_loss(self.get_buffer(_key(name)), _gram(each))
            for name, weight in terms.style_layers.items()
            for each in maps[name]
        ]
        return {
            "content": content,
            "style": terms.beta * torch.stack(style).sum() / len(painted),
            "variation": terms.variation * total_variation(painted),
        }

    def _seen(self, images: Tensor) -> dict[str, Tensor]:
        return {name: found / self.scales[name] for name, found in self.network(images).items()}


def _gram(activations: Tensor) -> Tensor:
    """The Gram matrix (n_c, n_c) of activations (n_c, n_h, n_w), divided by the number of positions."""
    with torch.autocast(activations.device.type, enabled=False):
        return gram_matrix(activations.float()) / activations[0].numel()


def _key(layer: str) -> str:
    # Names of buffers hold no dots.
    return f"gram_{layer.replace('.', '_')}"
