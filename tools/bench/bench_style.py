"""Painting by optimisation: `cvtl_style` against the plain way of the well-known tutorials.

Run: python tools/bench/bench_style.py [CONTENT STYLE] [--weights FILE] [--size N] [--out FOLDER]

The plain way is written here: the whole of VGG-19 with hooks on some layers, autograd through everything, torch's
L-BFGS at the full size, 300 evaluations from the content picture. Both minimise the same J (layers, factors, weights,
pictures). What counts is how long `cvtl_style` takes until its picture's J is no higher than the plain way's last one;
J is measured on both pictures as they are written, by one function. OUT gets the pictures, to be looked at.

Without weights VGG-19 is random: the times say as much, the pictures nothing.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from sklearn.datasets import load_sample_image
from torch import Tensor, nn
from torchvision.models import vgg19

from cvtl.devices import choose_device
from cvtl.files import write_atomically
from cvtl.images import encode
from cvtl_style import pictures
from cvtl_style.layers import FeatureNetwork
from cvtl_style.losses import content_loss, gram_matrix
from cvtl_style.objective import Terms
from cvtl_style.options import PaintOptions
from cvtl_style.painter import Painter, looking
from cvtl_style.painting import StyleSource

# Where the layers of `cvtl_style` are among the modules of VGG-19's features.
PLACES = {"relu1_1": 1, "relu2_1": 6, "relu3_1": 11, "relu4_1": 20, "relu4_2": 22, "relu5_1": 29}
BUILT_IN = "china.jpg", "flower.jpg"
STEPS = (30, 50, 75, 100, 150, 225, 300)


class PlainStyleTransfer:
    """The whole network, hooks, and autograd: nothing is cut, folded, tiled or reused.

    Args:
        network: the features of VGG-19.
        terms: of J.
        content: (1, 3, H, W), normalised.
        style: likewise.
    """

    def __init__(self, network: nn.Sequential, terms: Terms, content: Tensor, style: Tensor) -> None:
        self.network = network
        self.terms = terms
        self.maps: dict[str, Tensor] = {}
        for name in terms.layers:
            module = self.network[PLACES[name]]
            assert isinstance(module, nn.ReLU)
            module.inplace = False
            module.register_forward_hook(lambda _, __, output, name=name: self.maps.update({name: output}))
        with torch.no_grad():
            self.content = self.seen(content)[terms.content_layer]
            found = self.seen(style)
            self.scales = {name: float(each.mean()) for name, each in found.items()}
            self.grams = {name: self.gram(each) for name, each in found.items()}

    def seen(self, image: Tensor) -> dict[str, Tensor]:
        """The maps that the hooks caught."""
        self.network(image)
        return dict(self.maps)

    @staticmethod
    def gram(maps: Tensor) -> Tensor:
        """Divided by the number of positions."""
        return gram_matrix(maps[0].contiguous()) / maps[0, 0].numel()

    def loss(self, image: Tensor) -> Tensor:
        """J."""
        maps, terms = self.seen(image), self.terms
        name = terms.content_layer
        total = terms.alpha * content_loss(self.content[0] / self.scales[name], maps[name][0] / self.scales[name])
        for name, weight in terms.style_layers.items():
            difference = (self.grams[name] - self.gram(maps[name])) / self.scales[name] ** 2
            total = total + terms.beta * weight * difference.square().mean() / 4
        return total

    def paint(self, start: Tensor, evaluations: int) -> Tensor:
        """Torch's L-BFGS as it comes, so many evaluations long."""
        image = start.clone().requires_grad_()
        optimizer = torch.optim.LBFGS([image])
        done = 0

        def closure() -> Tensor:
            nonlocal done
            done += 1
            optimizer.zero_grad()
            loss = self.loss(image)
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        while done < evaluations:
            optimizer.step(closure)  # type: ignore[no-untyped-call]
        return image.detach()


@dataclass(frozen=True)
class Taken:
    """Seconds on the clock and of the processor."""

    wall: float
    processor: float


@dataclass
class Watch:
    """Measures what happens inside a `with`."""

    taken: Taken = Taken(0, 0)

    def __enter__(self) -> Watch:
        self._begun = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.taken = Taken(time.perf_counter() - self._begun[0], time.process_time() - self._begun[1])


def main() -> None:
    """Measure and print."""
    options = parsed()
    warnings.simplefilter("ignore")
    content, style = (picture(path, name) for path, name in zip(options.pictures, BUILT_IN, strict=True))
    made = PaintOptions(style=("-",), weights=options.weights or "none", size=options.size, tolerance=0)
    if options.weights is None:
        made = made.model_copy(update={"layers": ("relu1_1", "relu2_1", "relu3_1"), "content_layer": "relu3_1"})
    torch.manual_seed(0)
    network, terms = looking(made)
    content = pictures.at_size(content, pictures.fitted_hw((content.shape[1], content.shape[2]), options.size))
    plain = plain_of(options, network, terms, content, style)
    start = pictures.to_network(content, network.input)
    with Watch() as watch:
        image = plain.paint(start, options.evaluations)
    painted = pictures.to_bytes(pictures.to_unit(image, network.input))
    wanted = score(plain, painted, network)
    print(
        f"{content.shape[2]} x {content.shape[1]} pixels, {torch.get_num_threads()} threads, {', '.join(terms.layers)}"
    )
    print(f"{'':36}{'J':>9}{'seconds':>10}{'processor':>11}{'sooner':>9}")
    show(f"plain, {options.evaluations} evaluations", wanted, watch.taken, watch.taken)
    save(options.out, "plain.png", painted)
    for precision in options.precisions:
        reach(precision, made, network, terms, content, style, plain, wanted, watch.taken, options.out)


def reach(
    precision: str,
    made: PaintOptions,
    network: FeatureNetwork,
    terms: Terms,
    content: Tensor,
    style: Tensor,
    plain: PlainStyleTransfer,
    wanted: float,
    plain_taken: Taken,
    out: Path,
) -> None:
    """Paint with more and more steps, each time anew, until J is as low as wanted."""
    choose_device("cpu")
    for steps in STEPS:
        options = made.model_copy(update={"steps": steps})
        painter = Painter(options, network.to(memory_format=torch.channels_last), terms, [StyleSource(style, 1.0)])
        half = precision == "bfloat16"
        with Watch() as watch, torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            (result,) = painter.predict([content])
        painted = result.image  # type: ignore[union-attr]
        reached = score(plain, painted, network)
        show(f"cvtl_style, {precision}, {steps} steps", reached, watch.taken, plain_taken)
        save(out, f"cvtl-{precision}-{steps}.png", painted)
        if reached <= wanted:
            return


def plain_of(
    options: argparse.Namespace, network: FeatureNetwork, terms: Terms, content: Tensor, style: Tensor
) -> PlainStyleTransfer:
    """The plain way, on the very same inputs and weights; layers that nobody looks at have random ones."""
    style_hw = pictures.fitted_hw((style.shape[1], style.shape[2]), options.size)
    seen = [pictures.to_network(each, network.input) for each in (content, pictures.at_size(style, style_hw))]
    features = vgg19(weights=None).features.eval().requires_grad_(False)
    # The cut network ends earlier.
    convolutions = ([each for each in every.modules() if isinstance(each, nn.Conv2d)] for every in (features, network))
    for whole, cut in zip(*convolutions, strict=False):
        whole.load_state_dict(cut.state_dict())
    return PlainStyleTransfer(features, terms, *seen)


def score(plain: PlainStyleTransfer, painted: Tensor, network: FeatureNetwork) -> float:
    """J of a picture as it is written, in single precision."""
    with torch.no_grad():
        return float(plain.loss(pictures.to_network(painted, network.input)))


def show(name: str, loss: float, taken: Taken, plain: Taken) -> None:
    """A line of the table."""
    sooner = plain.processor / taken.processor
    print(f"{name:36}{loss:9.4f}{taken.wall:10.1f}{taken.processor:11.1f}{sooner:8.1f}x", flush=True)


def save(out: Path, name: str, image: Tensor) -> None:
    """Write a picture (3, H, W)."""
    write_atomically(out / name, encode(image.permute(1, 2, 0).contiguous().numpy(), ".png"))


def picture(path: str | None, built_in: str) -> Tensor:
    """uint8 (3, H, W): a file, or a photograph that comes with scikit-learn."""
    return pictures.read_picture(path) if path else torch.tensor(load_sample_image(built_in)).permute(2, 0, 1)


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="*", default=[None, None], metavar="PICTURE", help="content, then style")
    parser.add_argument("--weights", help="of VGG-19, or of its first layers")
    parser.add_argument("--size", type=int, default=384, help="longer side")
    parser.add_argument("--evaluations", type=int, default=300, help="of the plain way")
    parser.add_argument("--precisions", nargs="+", default=["float32"], choices=["float32", "bfloat16"])
    parser.add_argument("--out", type=Path, default=Path("cvtl-runs/bench-style"), help="folder for the pictures")
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
