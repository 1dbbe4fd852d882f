"""`cvtl serve`: weights as a web page, and as an interface for programs."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from cvtl.cli.foreign import add_reading_options, peek_reading, reading_of
from cvtl.cli.named_weights import (
    add_predict_options,
    named_weights,
    said_predict_options,
    weights_files,
    with_weights_joined,
)
from cvtl.cli.parser import VerbParser, values_of
from cvtl.errors import ExitCode, PluginError, UsageError
from cvtl.making import is_for_maker, maker
from cvtl.options import make_options
from cvtl.registry import PluginSpec
from cvtl.run_settings import DetectorSettings, TilingSettings
from cvtl.serving.settings import AUTH_VARIABLE, ServeSettings
from cvtl.tasks import get_task
from cvtl.weights import Header, read_headers

if TYPE_CHECKING:
    from cvtl.serving.answering import Answers

_NEEDED = ("gradio", "fastapi", "uvicorn", "python_multipart")
_DEMO_TASK = "detect"
# Tasks whose results may be of several objects in boxes.
_IN_BOXES = ("landmarks",)


def main(arguments: list[str]) -> int:
    """Run the verb; `arguments` are the words behind it."""
    named_task = arguments[0] if arguments and not arguments[0].startswith("-") else None
    task = None if named_task is None else get_task(named_task).name
    words = with_weights_joined(arguments if task is None else arguments[1:])
    named = named_weights(words)
    if task is not None and is_for_maker(task, named):
        spec = maker(task)
        assert spec is not None, "this is asked before"
        parser = _parser(task, making=spec)
        return _serve_made(spec, parser.parse(words))
    if not named and {"-h", "--help"} & set(words):
        _parser(task).print_help()
        return ExitCode.OK
    weights = weights_files(task or _DEMO_TASK, named)
    header = read_headers(weights, task, peek_reading(words, weights))[0]
    parser = _parser(header.task)
    add_reading_options(parser, weights)
    add_predict_options(parser, header, weights[0])
    options = parser.parse(words)
    options["predict"] = said_predict_options(parser, options)
    settings = _settings(options)
    return _serve(_loaded(weights, header, options, settings), settings)


def _serve_made(spec: PluginSpec, options: Mapping[str, Any]) -> int:
    settings = _settings(options)
    from cvtl.devices import choose_device
    from cvtl.serving.answering import Making

    making = values_of(spec.making_options_type(), options)
    answers = Making(spec, making, choose_device(settings.device), settings.precision)
    return _serve(answers, settings)


def _parser(task: str | None, *, making: PluginSpec | None = None) -> VerbParser:
    parser = VerbParser(
        "serve" if task is None else f"serve {task}",
        "Serve weights to people, as a web page, and to programs: a picture in, its row out.\n"
        "The page is on this machine only unless --host says otherwise, and takes nothing from the network.",
        [
            ("cvtl serve --weights w.safetensors", "whatever the weights are for"),
            ("cvtl serve", "the built-in weights"),
            (
                "cvtl serve style --weights imagenet --style starry.jpg --style wave.jpg",
                "the Art Generator, with two styles to choose from besides uploaded ones",
            ),
            (f"{AUTH_VARIABLE}=me:secret cvtl serve --weights w.safetensors --host 0.0.0.0", "for other machines"),
        ],
        operands="[TASK]",
        config=True,
    )
    own = making.making_options_type().model_fields if making else {}
    of_maker = f"{own['weights'].description}; or a " if "weights" in own else ""
    parser.add_option(
        "weights",
        str | tuple[str, ...] | None,
        metavar="FILE",
        help=f"{of_maker}weights file; with it, --help also shows the options of its plugin; of several that classify "
        "the probabilities are averaged",
    )
    parser.add_fields(ServeSettings, "how to serve")
    if task in _IN_BOXES:
        parser.add_fields(DetectorSettings, "pictures with several objects")
    if task == "detect":
        parser.add_fields(TilingSettings, "pictures much larger than the network's input")
    if making:
        clashes = (own.keys() - {"weights"}) & parser.names
        if clashes:
            raise PluginError(
                f"plugin '{making.name}' has options that `cvtl serve` has itself: {', '.join(sorted(clashes))}",
                hint="Its author has to rename them",
            )
        title = f"options of the plugin '{making.name}', for every picture; visitors may change some of them for theirs"
        parser.add_fields(making.making_options_type(), title, without=("weights",))
    return parser


def _settings(options: Mapping[str, Any]) -> ServeSettings:
    """What was said on how to serve, checked before anything takes long."""
    values = values_of(ServeSettings, options)
    values["auth"] = values["auth"] or os.environ.get(AUTH_VARIABLE) or None
    settings = make_options(ServeSettings, values)
    settings.check_exposure()
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"`cvtl serve` needs packages that are not installed: {', '.join(missing).replace('_', '-')}",
            hint="Install them with: pip install 'cvtl[web]'",
        )
    return settings


def _loaded(weights: list[Any], header: Header, options: Mapping[str, Any], settings: ServeSettings) -> Answers:
    from cvtl import ensemble
    from cvtl.cascade import with_detector
    from cvtl.devices import choose_device
    from cvtl.serving.answering import Trained
    from cvtl.tiling import with_tiling

    device = choose_device(settings.device)
    model = ensemble.load(weights, task=header.task, device=device, reading=reading_of(weights, options))
    if header.task in _IN_BOXES:
        detector = make_options(DetectorSettings, values_of(DetectorSettings, options))
        model = with_detector(model, detector, device=device)
    if header.task == "detect":
        tiling = make_options(TilingSettings, values_of(TilingSettings, options))
        model = with_tiling(model, tiling, batch_size=settings.batch_size)
    model.with_predict_options(**options["predict"])
    names = ", ".join(path.name for path in weights)
    answers = Trained(model, header.task, names, settings.precision)
    answers.warm_up(settings.batch_size)
    return answers


def _serve(answers: Answers, settings: ServeSettings) -> int:
    from cvtl.serving.server import Server
    from cvtl.serving.service import Service

    def tell(address: str) -> None:
        sys.stdout.write(f"Serving the task '{answers.task}' at {address}\n")
        sys.stdout.write(f"For programs: POST {address}api/v1/{answers.task}, described at {address}docs\n")
        sys.stdout.flush()

    server = Server(Service(answers, settings), tell)
    server.run_until_stopped()
    if not server.lost:
        return ExitCode.OK
    return ExitCode.INTERRUPTED if server.stopped_by == signal.SIGINT else ExitCode.TERMINATED
