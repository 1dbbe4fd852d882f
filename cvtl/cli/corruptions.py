"""`cvtl eval --corruptions`: weights measured on corrupted pictures, too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cvtl.data import Dataset
from cvtl.evaluation.bootstrap import compare
from cvtl.evaluation.corruptions.brittleness import evaluate_corrupted
from cvtl.evaluation.corruptions.kinds import STRENGTHS, fitting_kinds
from cvtl.evaluation.corruptions.passes import choose_pictures, predict_corrupted
from cvtl.evaluation.corruptions.settings import KINDS, CorruptionSettings, Kind
from cvtl.evaluation.evaluation import Evaluation
from cvtl.evaluation.settings import EvalSettings
from cvtl.terminal_progress import choose_progress, shown_progress

if TYPE_CHECKING:
    from cvtl.model import Model


def add_corruptions(
    evaluation: Evaluation,
    models: Sequence[tuple[str, Model | Path]],
    dataset: Dataset,
    settings: EvalSettings,
    corruptions: CorruptionSettings,
    *,
    device: str,
    batch_size: int,
    quiet: bool,
) -> Evaluation:
    """An evaluation with figures and sections on corrupted pictures behind its own.

    Args:
        evaluation: of the clean pictures.
        models: what was evaluated, and perhaps what it is compared with, each behind its name.
        dataset: the pictures.
        settings: how to evaluate.
        corruptions: what to do to pictures, and to how many.
        device: where to compute.
        batch_size: pictures that go through the network together.
        quiet: show no progress.
    """
    kinds = corruptions.kinds
    chosen = choose_pictures(dataset, corruptions.pictures, settings.seed)
    passes = 1 + len(kinds) * len(STRENGTHS)
    predictions = [
        predict_corrupted(
            model,
            chosen,
            kinds,
            seed=settings.seed,
            device=device,
            batch_size=batch_size,
            progress=choose_progress(passes * len(chosen), quiet=quiet),
            name=name,
        )
        for name, model in models
    ]
    times = {1: 1, 2: 4}[len(models)]
    with shown_progress(times * (settings.draws + 1), quiet=quiet, noun="draws") as progress:
        first, *others = (evaluate_corrupted(each, chosen, settings, progress=progress) for each in predictions)
        comparisons = [compare(first, other, settings.draws, settings.seed) for other in others]
    titled = [replace(each, title=f"Corruptions: {each.title}") for each in comparisons]
    return replace(
        evaluation,
        figures=[*evaluation.figures, *first.figures],
        sections=[*evaluation.sections, *titled, *first.sections],
        notes=tuple(dict.fromkeys((*evaluation.notes, *_notes(evaluation, len(chosen), kinds), *first.notes))),
    )


def _notes(evaluation: Evaluation, chosen: int, kinds: Sequence[Kind]) -> Iterator[str]:
    if chosen < evaluation.pictures:
        yield (
            f"Corruptions are measured on {chosen} of the {evaluation.pictures} pictures, chosen by chance, of every "
            "class its share; --corruption-pictures takes more."
        )
    left_out = [kind for kind in KINDS if kind not in fitting_kinds(None, evaluation.task)]
    if left_out and len(kinds) + len(left_out) == len(KINDS):
        yield f"Of the corruptions, {', '.join(left_out)} are left out: they would move what has to be found."
