"""The terms of the loss of style transfer, each a function of activations.

Source: Gatys, Ecker, Bethge: A Neural Algorithm of Artistic Style, arXiv 1508.06576.

    J(G) = alpha * J_content(C, G) + beta * J_style(S, G)

Factors are those of the lectures' exercise. Activations `a` are (n_c, n_h, n_w): one map for each of n_c channels.
"""

from __future__ import annotations

from torch import Tensor


def content_loss(content: Tensor, generated: Tensor) -> Tensor:
    """J_content(C, G) = 1 / (4 n_h n_w n_c) * sum (a_C - a_G)^2 at one layer.

    The paper's equation 1 has 1/2 for the factor, with which alpha means another thing for every size of picture.

    Args:
        content: activations of the content picture, float (n_c, n_h, n_w).
        generated: those of the generated picture, of the same shape.

    Returns:
        A scalar.

    Example:
        >>> import torch
        >>> content_loss(torch.zeros(1, 1, 2), torch.tensor([[[2.0, 4.0]]]))
        tensor(2.5000)
    """
    return (content - generated).square().mean() / 4


def gram_matrix(activations: Tensor) -> Tensor:
    """G_kk' = sum_ij a_ijk a_ijk': how channels go together, wherever in the picture (the paper's equation 3).

    Args:
        activations: float (n_c, n_h, n_w).

    Returns:
        (n_c, n_c), symmetric.

    Example:
        >>> import torch
        >>> gram_matrix(torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]]))
        tensor([[ 5., 11.],
                [11., 25.]])
    """
    # Of maps in channels_last this is a view.
    positions = activations.movedim(0, -1).flatten(0, 1)
    return positions.T @ positions


def style_loss(style: Tensor, generated: Tensor) -> Tensor:
    """J_style(S, G) = 1 / (2 n_h n_w n_c)^2 * sum (G_S - G_G)^2 at one layer (the paper's equation 4).

    Where the two pictures have different sizes, each Gram matrix is divided by its own n_h n_w first.

    Args:
        style: activations of the style picture, float (n_c, n_h, n_w).
        generated: those of the generated picture, with as many channels.

    Returns:
        A scalar.

    Example:
        >>> import torch
        >>> style_loss(torch.zeros(2, 1, 2), torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]]))
        tensor(13.9375)
    """
    return gram_loss(*(gram_matrix(each) / each[0].numel() for each in (style, generated)))


def gram_loss(style: Tensor, generated: Tensor) -> Tensor:
    """The same of Gram matrices that are divided by n_h n_w already: 1 / (2 n_c)^2 * sum (G_S - G_G)^2.

    Example:
        >>> import torch
        >>> gram_loss(torch.zeros(2, 2), torch.ones(2, 2))
        tensor(0.2500)
    """
    return (style - generated).square().mean() / 4


def total_variation(image: Tensor) -> Tensor:
    """The mean square of the difference between a value and its right neighbour, and its lower one.

    Source: Mahendran, Vedaldi: Understanding Deep Image Representations by Inverting Them, arXiv 1412.0035, eq. 4, with
    beta = 2.

    Args:
        image: float (..., H, W).

    Returns:
        A scalar; 0 for a picture of one pixel.

    Example:
        >>> import torch
        >>> total_variation(torch.tensor([[1.0, 3.0]]))
        tensor(4.)
    """
    right = (image[..., 1:] - image[..., :-1]).square()
    down = (image[..., 1:, :] - image[..., :-1, :]).square()
    return sum((each.mean() for each in (right, down) if each.numel()), image.new_zeros(()))
