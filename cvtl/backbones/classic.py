"""Two networks of the lectures that neither torchvision nor timm has: their convolutional part, without the head."""

from __future__ import annotations

from torch import Tensor, nn


class LeNet5(nn.Module):
    """LeNet-5: two unpadded 5x5 convolutions, each followed by 2x2 pooling; 32x32 pixels become 16 maps of 5x5.

    LeCun, Bottou, Bengio, Haffner: Gradient-Based Learning Applied to Document Recognition, Proc. IEEE 86(11), 1998,
    fig. 2, layers C1 to S4; C5, F6 and the output belong to whoever puts a head on it. Where it differs: the input has
    3 channels instead of 1, pooling takes the maximum instead of a trained average, ReLU replaces the scaled tanh, and
    every map of C3 sees every map of S2 (the paper's table I leaves some connections out).

    Example:
        >>> import torch
        >>> LeNet5()(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 16, 5, 5])
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) to maps (N, 16, h, w)."""
        maps: Tensor = self.features(images)
        return maps


class ZFNet(nn.Module):
    """ZFNet: AlexNet with a smaller, denser first layer; 224x224 pixels become 256 maps of 6x6.

    Zeiler, Fergus: Visualizing and Understanding Convolutional Networks, arXiv 1311.2901, fig. 3, layers 1 to 5; its
    map sizes are 110, 55, 26, 13, 6. The contrast normalisation is AlexNet's (Krizhevsky et al. 2012, section 3.3).
    Weights start as He et al. (arXiv 1502.01852) propose: the paper's constant deviation of 0.01 learns slowly.

    Example:
        >>> import torch
        >>> ZFNet()(torch.zeros(1, 3, 224, 224)).shape
        torch.Size([1, 256, 6, 6])
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 96, 7, stride=2, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            nn.LocalResponseNorm(5, k=2.0),
            nn.Conv2d(96, 256, 5, stride=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            nn.LocalResponseNorm(5, k=2.0),
            nn.Conv2d(256, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
        )
        for module in self.features:
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) to maps (N, 256, h, w)."""
        maps: Tensor = self.features(images)
        return maps
