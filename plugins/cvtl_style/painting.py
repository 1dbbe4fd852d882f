"""Painting one picture: from coarse to fine, step by step, each step to be gone on from."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from cvtl.data import UInt8Image
from cvtl.errors import OutputError
from cvtl.files import open_atomically, write_atomically
from cvtl.images import encode
from cvtl.workplace import Step, Workplace
from cvtl_style import pictures
from cvtl_style.colours import recoloured, with_colours_of
from cvtl_style.layers import FeatureNetwork
from cvtl_style.memory import map_shapes, most_pixels
from cvtl_style.objective import Losses, Objective, Style, Terms, grams_of, map_of
from cvtl_style.optimizers import Optimizer, make_optimizer
from cvtl_style.options import PaintOptions, memory_bytes
from cvtl_style.tiles import Tile, tile

# Over so many steps J has to become less.
_PATIENCE = 10
# At the coarser levels, of the steps at the full size.
_COARSE_PART = 3


@dataclass(frozen=True, eq=False)
class StyleSource:
    """A style picture.

    Attributes:
        image: uint8 (3, H, W).
        weight: among the styles.
        mask: uint8 (1, H, W), where in the painted picture it is to hold; None for everywhere.
    """

    image: Tensor
    weight: float
    mask: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Scene:
    """All that painting depends on besides the picture.

    Attributes:
        network: what looks.
        terms: of J.
        options: as they were given.
        styles: the style pictures.
        mask: uint8 (1, H, W), where the painting may change something; None for everywhere.
    """

    network: FeatureNetwork
    terms: Terms
    options: PaintOptions
    styles: Sequence[StyleSource]
    mask: Tensor | None = None


@dataclass(eq=False)
class State:
    """How far a painting has come; all that the rest of the work depends on.

    Attributes:
        level: from 0, the coarsest.
        step: steps done at this level.
        losses: J after each of them.
        image: the picture so far, as the network sees it; None before the first step of all.
        optimizer: its state.
    """

    level: int = 0
    step: int = 0
    losses: list[float] = field(default_factory=list)
    image: Tensor | None = None
    optimizer: dict[str, Tensor] = field(default_factory=dict)


def paint(picture: Tensor, scene: Scene, place: Workplace | None = None) -> Tensor:
    """Paint a picture in the scene's styles.

    Args:
        picture: uint8 (3, H, W), on the network's device.
        scene: how.
        place: where to keep what there is so far, and to go on from; nothing is kept without.

    Returns:
        uint8 (3, h, w), its longer side as the options say.

    Raises:
        ValueError: the picture is too small, or the loss stops being a number.
        UsageError: the memory does not suffice, however the picture is divided.
    """
    return _Painting(picture, scene, place).finished()


class _Painting:
    """One picture's way from the first step to the last."""

    def __init__(self, picture: Tensor, scene: Scene, place: Workplace | None) -> None:
        options = scene.options
        self.scene = scene
        self.place = place
        image_hw = picture.shape[1], picture.shape[2]
        side = options.size or max(image_hw)
        # The options are a part of the run's identity, but of a picture only its name is.
        self.digest = hashlib.sha256(picture.cpu().contiguous().numpy().tobytes()).hexdigest()
        self.contents = [
            pictures.at_size(picture, pictures.fitted_hw(image_hw, each))
            for each in pictures.level_sides(side, options.levels)
        ]
        self.styles = list(scene.styles)
        if options.colours == "histogram":
            self.styles = [self._recoloured(each) for each in scene.styles]

    def _recoloured(self, style: StyleSource) -> StyleSource:
        image = recoloured(style.image.float() / 255, self.contents[-1].float() / 255)
        return StyleSource(pictures.to_bytes(image), style.weight, style.mask)

    def finished(self) -> Tensor:
        """Go on from where there is something to go on from, to the end."""
        state = self._restored()
        for level in range(state.level, len(self.contents)):
            if level > state.level or state.image is None:
                state = State(level, image=self._first(level, state.image))
            self._work(state)
        assert state.image is not None
        return self._shown(state.image, len(self.contents) - 1)

    def _seen(self, level: int) -> Tensor:
        return pictures.to_network(self.contents[level], self.scene.network.input)

    def _first(self, level: int, coarser: Tensor | None) -> Tensor:
        """What a level starts from: what there is at the coarser one, with the content's own detail."""
        content = self._seen(level)
        if coarser is None:
            image = content if self.scene.options.init == "content" else self._noise(content)
        else:
            image = _enlarged(coarser, content)
            if self.scene.options.init == "content":
                image = image + content - _enlarged(self._seen(level - 1), content)
        mask = self._may_change(content)
        return image.clone() if mask is None else torch.where(mask, image, content)

    def _noise(self, like: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self.scene.options.seed)
        return torch.randn(like.shape, generator=generator).to(like.device)

    def _may_change(self, like: Tensor) -> Tensor | None:
        mask = self.scene.mask
        return None if mask is None else pictures.mask_at(mask, (like.shape[2], like.shape[3])) > 0

    def _work(self, state: State) -> None:
        """Take a level's steps, from where the state stands."""
        options = self.scene.options
        last = state.level == len(self.contents) - 1
        steps = options.steps if last else -(-options.steps // _COARSE_PART)
        if state.step == steps or _is_flat(state.losses, options.tolerance):
            return
        assert state.image is not None
        objective = self._objective(state.level)
        mask = self._may_change(state.image)
        optimizer = make_optimizer(options.optimizer, rate=options.rate, history=options.history)
        optimizer.restore(state.optimizer)
        losses: Losses | None = None

        def evaluate(image: Tensor) -> tuple[float, Tensor]:
            nonlocal losses
            losses, gradient = objective(image)
            return losses.total, gradient if mask is None else gradient * mask

        while state.step < steps:
            state.image, loss = optimizer.step(state.image, evaluate)
            if not bool(state.image.isfinite().all()):
                raise ValueError("the loss stopped being a number: lower --alpha, --beta or --rate")
            state.step += 1
            state.losses.append(loss)
            over = state.step == steps or _is_flat(state.losses, options.tolerance)
            self._show(state, steps, over=over)
            if over or state.step % options.save_every == 0:
                self._save(state, optimizer)
                self._tell(state, losses, steps)
            if over:
                return

    def _objective(self, level: int) -> Objective:
        scene, options = self.scene, self.scene.options
        content = self._seen(level)
        tiles = self._tiles(content)
        side = max(content.shape[2:]) * options.style_scale
        styles, sizes = [], dict.fromkeys(scene.network.names, 0.0)
        for source in self.styles:
            image_hw = pictures.fitted_hw((source.image.shape[1], source.image.shape[2]), side)
            seen = pictures.to_network(pictures.at_size(source.image, image_hw), scene.network.input)
            grams, means = grams_of(scene.network, seen, self._tiles(seen), scene.network.names)
            mask = None if source.mask is None else pictures.mask_at(source.mask, (content.shape[2], content.shape[3]))
            styles.append(Style(grams, source.weight, mask))
            sizes = {name: sizes[name] + means[name] / len(self.styles) for name in sizes}
        scales = {name: max(size, 1e-6) for name, size in sizes.items()}
        kept = map_of(scene.network, content, tiles, scene.terms.content_layer) if scene.terms.alpha else None
        return Objective(scene.network, scene.terms, styles, tiles, scales, kept)

    def _tiles(self, image: Tensor) -> list[Tile]:
        network, options = self.scene.network, self.scene.options
        image_hw = image.shape[2], image.shape[3]
        shapes = map_shapes(network, image_hw)
        most = most_pixels(
            network,
            memory_bytes(options.max_memory),
            image_hw,
            history=options.history if options.optimizer == "lbfgs" else 1,
            layer=self.scene.terms.content_layer,
        )
        fields = dict(zip(network.names, network.fields, strict=True))
        return tile(image_hw, fields, {name: shape[1:] for name, shape in shapes.items()}, most)

    def _shown(self, image: Tensor, level: int) -> Tensor:
        """The picture as pixels, with the colours and in the parts that are asked for."""
        content = self.contents[level].float() / 255
        painted = pictures.to_unit(image, self.scene.network.input)
        if self.scene.options.colours == "luminance":
            painted = with_colours_of(content, painted)
        if self.scene.mask is not None:
            opacity = pictures.mask_at(self.scene.mask, (content.shape[1], content.shape[2]))
            painted = opacity * painted + (1 - opacity) * content
        return pictures.to_bytes(painted)

    def _tell(self, state: State, losses: Losses | None, steps: int) -> None:
        if self.place is None or losses is None:
            return
        height, width = self.contents[state.level].shape[1:]
        flat = "; flat, so no more steps" if _is_flat(state.losses, self.scene.options.tolerance) else ""
        self.place.note(
            f"{self.place.name}: {width} x {height}, step {state.step} of {steps}: J {losses.total:.4g} = "
            f"content {losses.content:.4g} + style {losses.style:.4g} + variation {losses.variation:.4g}{flat}"
        )

    def _show(self, state: State, steps: int, *, over: bool) -> None:
        """Tell whoever watches."""
        if self.place is None or self.place.watch is None:
            return
        height, width = self.contents[state.level].shape[1:]
        works = [content[0].numel() for content in self.contents]
        works[-1] *= _COARSE_PART
        done = sum(works[: state.level]) + works[state.level] * (1.0 if over else state.step / steps)
        image, level = state.image, state.level
        assert image is not None
        self.place.watch(
            Step(
                f"{width} x {height} pixels, step {state.step} of {steps}",
                done / sum(works),
                lambda: self._pixels(image, level),
            )
        )

    def _save(self, state: State, optimizer: Optimizer) -> None:
        if self.place is None or self.place.watch is not None:
            return
        assert state.image is not None
        content = {
            "picture": self.digest,
            "level": state.level,
            "step": state.step,
            "losses": state.losses,
            "image": state.image.cpu(),
            "optimizer": {name: tensor.cpu() for name, tensor in optimizer.state().items()},
        }
        with open_atomically(self.place.steps) as stream:
            torch.save(content, stream)
        write_atomically(self.place.preview, encode(self._pixels(state.image, state.level), self.place.preview.suffix))

    def _pixels(self, image: Tensor, level: int) -> UInt8Image:
        return self._shown(image, level).permute(1, 2, 0).cpu().contiguous().numpy()

    def _restored(self) -> State:
        if self.place is None or not self.place.steps.exists():
            return State()
        device = self.contents[0].device
        try:
            content = torch.load(self.place.steps, map_location=device, weights_only=True)
        except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
            raise OutputError(
                f"cannot go on from '{self.place.steps}': it is damaged", hint="Remove it, and repeat the command"
            ) from error
        if content.pop("picture") != self.digest:
            return State()
        return State(**content)


def _enlarged(image: Tensor, like: Tensor) -> Tensor:
    return interpolate(image, size=like.shape[2:], mode="bicubic", align_corners=False)


def _is_flat(losses: Sequence[float], tolerance: float) -> bool:
    """Whether the last steps made J less by no more than a part of it."""
    if not tolerance or len(losses) <= _PATIENCE:
        return False
    before = losses[-1 - _PATIENCE]
    return before - losses[-1] <= tolerance * abs(before)
