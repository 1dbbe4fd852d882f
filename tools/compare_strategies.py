"""Try every strategy of the classify plugin on real data, and see how near `auto` comes to the best of them.

    python tools/compare_strategies.py WORK --data SHARED/data --weights squeezenet.pth [--sets flowers,signs]
        [--strategies auto,full] [--folds own,0,1] [--epochs N] [--threads 2] [--table]

Every training is one job: a set, a strategy, and the pictures that judge it. It learns from all the others of its set
by `cvtl.training.train`, as `cvtl train classify` does, but for the choice of the best epoch: that goes by pictures
that were learnt from, so that nothing has to be held out a second time. Each result is a line of WORK/results.jsonl;
what is there already is not done again, so that the tool can be stopped and started. At the end, or with --table only,
a table in Markdown is printed.

Who judges: folds 0 to 4 of a cross-validation, which does not divide groups; or `own`, the set's usual part: the
published validation or test pictures, every fifth of the hand signs, the last fifth of each sequence of vehicles.
Vehicles are frames of videos: a hundred consecutive numbers make a group.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from cvtl.data import ClassTarget, Dataset, Sample, load_data
from cvtl.splits import named_groups

FOLDS = ("0", "1", "2", "3", "4")
OWN = "own"
CHOSEN = ("strategy", "head", "stages", "pooling", "cut", "flip")
# Pictures that were learnt from and are looked at after each epoch: training asks for some.
VALIDATED = 50

STRATEGIES: Mapping[str, Mapping[str, Any]] = {
    "auto": {"strategy": "auto"},
    **{
        f"features {head} {name}": {"strategy": "features", "head": head, **seen}
        for head in ("linear", "svm", "mlp")
        for name, seen in (("last", {}), ("all", {"stages": "all"}), ("grid", {"pooling": "grid"}))
    },
    "augmented": {"strategy": "augmented", "head": "linear"},
    "finetune": {"strategy": "finetune", "head": "linear"},
    "full": {"strategy": "full", "head": "linear"},
    "scratch": {"strategy": "scratch", "head": "linear"},
}


@dataclass(frozen=True)
class DataSet:
    """One of the sets.

    Attributes:
        folder: in the folder of shared data.
        own: whether a picture judges in the set's usual division, by its name, its number and its published split.
        keep: whether a picture belongs to it, by its name.
        group_by: what of a name says which group it belongs to.
    """

    folder: str
    own: Callable[[Sample, int], bool]
    keep: Callable[[str], bool] = lambda name: True
    group_by: str | None = None


SETS = {
    "flowers": DataSet("classify_flowers", lambda sample, _: sample.split == "val"),
    "signs": DataSet("classify_sign_digits", lambda _, number: number % 5 == 4),
    "mnist": DataSet("classify_mnist", lambda sample, _: sample.split == "test"),
    "vehicles": DataSet(
        "sliding_vehicles",
        lambda sample, _: sample.name in _LAST_FIFTHS,
        lambda name: name.startswith(("vehicles/", "non-vehicles/")),
        r"(.*\D\d*?)\d{0,2}\.png",
    ),
}
_LAST_FIFTHS: set[str] = set()


def main() -> None:
    """Do the jobs that are missing, and print the table."""
    arguments = _arguments()
    # Before torch is imported.
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    os.environ["CVTL_CACHE"] = str(arguments.work / "cache")
    arguments.work.mkdir(parents=True, exist_ok=True)
    results = arguments.work / "results.jsonl"
    rows = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    if not arguments.table:
        done = {(row["set"], row["strategy"], row["fold"]) for row in rows}
        for row in missing_jobs(done, arguments):
            rows.append(row)
            with results.open("a") as file:
                file.write(json.dumps(row) + "\n")
            shown = f"{row['set']}, {row['strategy']}, fold {row['fold']}"
            print(f"{shown}: {np.mean(row['right']):.3f} in {row['seconds']:.0f} s", flush=True)
    for name in arguments.sets:
        print_table(name, [row for row in rows if row["set"] == name and row["fold"] in arguments.folds])


def missing_jobs(done: Collection[tuple[str, str, str]], arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Do what is asked for and not done, one after the other."""
    for name in arguments.sets:
        data = open_set(SETS[name], arguments.data)
        for strategy, fold in product(arguments.strategies, arguments.folds):
            if (name, strategy, fold) not in done:
                found = job(data, judges(SETS[name], data, fold), strategy, SETS[name], arguments)
                yield {"set": name, "strategy": strategy, "fold": fold, **found}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="the folder of the real data sets")
    parser.add_argument("--weights", type=Path, required=True, help="of SqueezeNet 1.1")
    parser.add_argument("--sets", type=_names(SETS), default=list(SETS))
    parser.add_argument("--strategies", type=_names(STRATEGIES), default=list(STRATEGIES))
    parser.add_argument("--folds", type=_names((*FOLDS, OWN)), default=list(FOLDS))
    parser.add_argument("--epochs", type=int, help="at most, of strategies that train the backbone or see it augmented")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--table", action="store_true", help="print the table of what is there, and do nothing")
    return parser.parse_args()


def _names(known: Iterable[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        unknown = set(names) - set(known)
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: none of {', '.join(known)}")
        return names

    return parse


def open_set(which: DataSet, folder: Path) -> Dataset:
    """Its samples, with as many classes as they have."""
    data = load_data(folder / which.folder, "classify")
    samples = [sample for sample in data if which.keep(sample.name)]
    used = sorted({sample.target.label for sample in samples if isinstance(sample.target, ClassTarget)})
    relabelled = [
        replace(sample, target=ClassTarget(used.index(sample.target.label)))
        for sample in samples
        if isinstance(sample.target, ClassTarget)
    ]
    _LAST_FIFTHS.update(last_fifths([sample.name for sample in relabelled]))
    return replace(data, samples=relabelled, classes=tuple(data.classes[label] for label in used))


def last_fifths(names: Sequence[str]) -> set[str]:
    """The pictures with the highest numbers of each folder."""
    folders: dict[str, list[str]] = {}
    for name in sorted(names, key=lambda name: int(re.sub(r"\D", "", name.rpartition("/")[2]) or 0)):
        folders.setdefault(name.rpartition("/")[0], []).append(name)
    return {name for files in folders.values() for name in files[-(len(files) // 5) :]}


def groups_of(which: DataSet, data: Dataset) -> npt.NDArray[np.int64]:
    """The group of each picture, its own where there are none."""
    if which.group_by is None:
        return np.arange(len(data))
    return np.unique(np.array(named_groups(data, re.compile(which.group_by))), return_inverse=True)[1]


def judges(which: DataSet, data: Dataset, fold: str) -> npt.NDArray[np.int64]:
    """Indices of the pictures that judge."""
    if fold == OWN:
        return np.array([number for number, sample in enumerate(data) if which.own(sample, number)])
    from cvtl_classify.advice.material import divide_in_folds
    from cvtl_classify.fitting import labels_of

    folds = divide_in_folds(labels_of(data), groups_of(which, data), len(FOLDS), 0, data.classes)
    return np.flatnonzero(folds == int(fold))


def job(
    data: Dataset, judged: npt.NDArray[np.int64], strategy: str, which: DataSet, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Train on all pictures but those that judge, and let them."""
    from cvtl.evaluation.predictions import predict
    from cvtl.options import make_options
    from cvtl.training import TrainSettings, train
    from cvtl.training.samples import seed_all
    from cvtl.training.start import with_defaults
    from cvtl_classify.model import ClassifyModel
    from cvtl_classify.options import ClassifyOptions

    # Published splits mean nothing to the folds.
    plain = replace(data, samples=[replace(sample, split=None) for sample in data])
    learnt = plain.subset(np.setdiff1d(np.arange(len(data)), judged))
    options = make_options(ClassifyOptions, {"weights": str(arguments.weights), **STRATEGIES[strategy]})
    said: dict[str, Any] = {"near_duplicates": False, "group_by": which.group_by, "workers": 0}
    proposed = options.train_defaults().get("epochs", 1)
    if arguments.epochs and options.strategy not in ("auto", "features"):
        said["epochs"] = min(arguments.epochs, proposed)
    settings = with_defaults(TrainSettings(**said), options)
    begun = perf_counter()
    folder = Path(tempfile.mkdtemp(dir=arguments.work))
    try:
        seed_all(settings.seed)
        model = ClassifyModel.initialize(options, data.classes)
        seen = learnt.subset(range(0, len(learnt), -(-len(learnt) // VALIDATED)))
        report = train(model, learnt, seen, settings, folder, quiet=True)
        seconds = perf_counter() - begun
        found = predict(report.weights, plain.subset(judged), device="cpu").found
        chosen = json.loads((folder / "choice.json").read_text()) if strategy == "auto" else None
    finally:
        shutil.rmtree(folder)
    return {
        "right": [_is_right(answer, data[index]) for answer, index in zip(found, judged, strict=True)],
        "groups": groups_of(which, data)[judged].tolist(),
        "seconds": seconds,
        "epochs": report.epochs,
        "chosen": chosen
        and {name: chosen["options"][name] for name in ("strategy", "head", "stages", "pooling", "cut", "flip")},
        "measured": chosen and chosen["measured"],
    }


def _is_right(answer: Any, sample: Sample) -> bool:
    assert isinstance(sample.target, ClassTarget)
    return bool(answer.labels[0] == sample.target.label)


def print_table(name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """One set's strategies, the best first; differences from `auto` are of the same pictures."""
    from cvtl_classify.advice.probing import share

    def gather(strategy: str, key: str, folds: Iterable[str]) -> npt.NDArray[Any]:
        by_fold = {row["fold"]: row[key] for row in rows if row["strategy"] == strategy}
        # Groups are numbered over the whole set.
        return np.array([each for fold in sorted(folds) for each in by_fold[fold]])

    folds = {s: {row["fold"] for row in rows if row["strategy"] == s} for s in STRATEGIES}
    lines = []
    for strategy in filter(folds.get, STRATEGIES):
        right, groups = gather(strategy, "right", folds[strategy]), gather(strategy, "groups", folds[strategy])
        figure = share("accuracy", right.astype(float), groups)
        less = "-"
        common = folds[strategy] & folds["auto"]
        if common and strategy != "auto":
            apart = gather("auto", "right", common).astype(float) - gather(strategy, "right", common)
            less = _shown(share("less", apart, gather("auto", "groups", common)), "+.3f")
        mine = [row for row in rows if row["strategy"] == strategy]
        seconds, epochs = np.mean([row["seconds"] for row in mine]), max(row["epochs"] for row in mine)
        cells = (strategy, _shown(figure, ".3f"), less, len(right), f"{seconds:.0f}", epochs)
        lines.append((figure.value, f"| {' | '.join(map(str, cells))} |"))
    print(f"\n### {name}\n")
    print("| strategy | accuracy (95 %) | auto less it | pictures | seconds | epochs |\n|---|---|---|---|---|---|")
    print("\n".join(line for _, line in sorted(lines, key=lambda line: -line[0])))
    chosen = Counter(json.dumps(row["chosen"]) for row in rows if row["chosen"])
    for choice, times in chosen.most_common():
        print(f"\nauto chose {times} times: {choice}")


def _shown(figure: Any, digits: str) -> str:
    interval = "" if figure.low is None else f" ({figure.low:{digits}} to {figure.high:{digits}})"
    return f"{figure.value:{digits}}{interval}"


if __name__ == "__main__":
    main()
