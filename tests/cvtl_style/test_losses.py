"""The terms of the loss, against plain double loops over the lectures' formulas."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cvtl_style.losses import content_loss, gram_loss, gram_matrix, style_loss, total_variation


def activations(n_c: int, n_h: int, n_w: int, seed: int = 0) -> Tensor:
    return torch.randn(n_c, n_h, n_w, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plain_gram(a: Tensor) -> list[list[float]]:
    n_c, n_h, n_w = a.shape
    values = a.tolist()
    gram = [[0.0] * n_c for _ in range(n_c)]
    for k in range(n_c):
        for l in range(n_c):  # noqa: E741
            for i in range(n_h):
                for j in range(n_w):
                    gram[k][l] += values[k][i][j] * values[l][i][j]
    return gram


SHAPES = [(3, 4, 5), (1, 1, 1), (2, 1, 7), (5, 2, 2)]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_gram_matrix_sums_products_of_channels_over_all_positions(shape: tuple[int, int, int]) -> None:
    a = activations(*shape)
    assert torch.allclose(gram_matrix(a), torch.tensor(plain_gram(a), dtype=torch.float64), rtol=1e-12)


def test_the_gram_matrix_does_not_depend_on_the_memory_format() -> None:
    a = activations(4, 6, 5)
    last = a[None].contiguous(memory_format=torch.channels_last)[0]
    assert torch.allclose(gram_matrix(last), gram_matrix(a), rtol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_content_loss_is_the_sum_of_squares_over_4_n_h_n_w_n_c(shape: tuple[int, int, int]) -> None:
    c, g = activations(*shape), activations(*shape, seed=1)
    n_c, n_h, n_w = shape
    total = 0.0
    for k in range(n_c):
        for i in range(n_h):
            for j in range(n_w):
                total += (float(c[k, i, j]) - float(g[k, i, j])) ** 2
    assert float(content_loss(c, g)) == pytest.approx(total / (4 * n_h * n_w * n_c), rel=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_style_loss_has_the_factor_1_over_2_n_h_n_w_n_c_squared(shape: tuple[int, int, int]) -> None:
    s, g = activations(*shape), activations(*shape, seed=1)
    n_c, n_h, n_w = shape
    gram_s, gram_g = plain_gram(s), plain_gram(g)
    total = 0.0
    for k in range(n_c):
        for l in range(n_c):  # noqa: E741
            total += (gram_s[k][l] - gram_g[k][l]) ** 2
    assert float(style_loss(s, g)) == pytest.approx(total / (2 * n_h * n_w * n_c) ** 2, rel=1e-12)


def test_a_style_picture_that_repeats_itself_has_the_same_style_at_any_size() -> None:
    s = activations(3, 4, 5)
    assert float(style_loss(torch.cat([s, s], dim=2), s)) == pytest.approx(0, abs=1e-20)


def test_the_loss_of_gram_matrices_is_the_style_loss_of_their_activations() -> None:
    s, g = activations(3, 4, 5), activations(3, 2, 9, seed=1)
    assert torch.equal(gram_loss(gram_matrix(s) / 20, gram_matrix(g) / 18), style_loss(s, g))


def test_the_total_variation_is_the_mean_square_of_differences_of_neighbours() -> None:
    image = activations(3, 4, 5)
    right, down = [], []
    for c in range(3):
        for y in range(4):
            for x in range(5):
                if x < 4:
                    right.append((float(image[c, y, x + 1]) - float(image[c, y, x])) ** 2)
                if y < 3:
                    down.append((float(image[c, y + 1, x]) - float(image[c, y, x])) ** 2)
    expected = sum(right) / len(right) + sum(down) / len(down)
    assert float(total_variation(image)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("shape", "varies"), [((3, 1, 1), False), ((3, 1, 4), True), ((3, 4, 1), True)])
def test_the_total_variation_of_thin_pictures_is_that_of_the_neighbours_there_are(
    shape: tuple[int, int, int], varies: bool
) -> None:
    assert (float(total_variation(activations(*shape))) > 0) == varies
