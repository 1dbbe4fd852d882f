"""From a finding to what to change in the command of the training.

Options are known by their names and values, not by their plugins: only those that the training had are named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cvtl.training.diagnosis.curves import Curves
from cvtl.training.diagnosis.findings import Verdict


@dataclass(frozen=True)
class Change:
    """One thing to try, by itself.

    Attributes:
        words: what to add to the command, or to put in the place of what is there; else what to do.
        why: what it does.
    """

    words: str
    why: str


def changes_for(verdict: Verdict, curves: Curves) -> tuple[Change, ...]:
    """What to try against a finding, the most promising first; against none if the curves are healthy."""
    changes = _REMEDIES[verdict](curves)
    if curves.config.settings.optimizer == "lbfgs":
        changes = (change for change in changes if not change.words.startswith(("--learning-rate", "--schedule")))
    return tuple(changes)


def _diverged(curves: Curves) -> Iterator[Change]:
    yield _rate(curves, 0.1)
    if curves.config.settings.precision in ("float16", "bfloat16"):
        yield Change("--precision float32", "half precision overflows or rounds sooner")


def _too_short(curves: Curves) -> Iterator[Change]:
    if not curves.is_solution:
        yield _longer(curves, 20)


def _oscillation(curves: Curves) -> Iterator[Change]:
    settings = curves.config.settings
    yield _rate(curves, 0.3)
    if settings.schedule == "constant":
        yield Change("--schedule cosine", "the rate falls to zero, and the jumps with it")
    if settings.batch_size < curves.config.data["train"].samples:
        yield Change(f"--batch-size {2 * settings.batch_size}", "steps that agree more with one another")


def _rate_too_small(curves: Curves) -> Iterator[Change]:
    yield _rate(curves, 10)
    yield _longer(curves, 2 * curves.epochs)


def _too_few_epochs(curves: Curves) -> Iterator[Change]:
    settings = curves.config.settings
    stopped_early = curves.finished and curves.epochs < settings.epochs
    if stopped_early and settings.patience is not None:
        yield Change(f"--patience {2 * settings.patience}", "it was stopped while it still got better")
    else:
        yield _longer(curves, 2 * curves.epochs)
    yield _rate(curves, 3)


def _network_too_small(curves: Curves) -> Iterator[Change]:
    options, settings = curves.config.options, curves.config.settings
    if options.get("strategy") in ("features", "augmented"):
        yield Change("--strategy finetune", "the last stages learn, too")
    elif options.get("strategy") == "finetune":
        yield Change("--strategy full", "all stages learn")
    if options.get("freeze"):
        yield Change("--freeze null", "all stages learn")
    # What `auto` chose is better than what it did not.
    if options.get("stages") == "last" and options.get("strategy") != "auto":
        yield Change("--stages all", "the head sees what earlier stages found, too")
    if options.get("head") == "linear":
        yield Change("--head mlp", "a dense layer more")
    if options.get("hidden") == []:
        yield Change("--hidden 256", "a dense layer more")
    if "backbone" in options:
        yield Change("--backbone NAME", f"a larger network than {options['backbone']}; see `cvtl backbones`")
    yield Change(_rate(curves, 3).words, "in case it is stuck")
    if settings.weight_decay >= 1e-3:
        yield Change(f"--weight-decay {settings.weight_decay / 10:g}", "less pull towards zero")
    if (options.get("dropout") or 0) >= 0.3:
        yield Change(f"--dropout {options['dropout'] / 2:g}", "more of the features are left to learn from")
    yield Change("a look at the labels", "wrong ones cannot be learnt: cvtl data check")


def _overfitting(curves: Curves) -> Iterator[Change]:
    options, settings = curves.config.options, curves.config.settings
    strategy = options.get("strategy")
    if strategy == "features":
        yield Change("--strategy augmented", "other views of the same pictures in every epoch")
    elif strategy in ("full", "scratch"):
        yield Change("--strategy finetune", "fewer weights learn, and pretrained ones")
    if options.get("augment") == "none" and strategy != "features":
        yield Change("--augment device", "other views of the same pictures in every epoch")
    elif options.get("flip") is False:
        yield Change("--flip", "if mirrored pictures show the same class")
    yield Change("more pictures", "nothing helps more; take those that are unlike the ones at hand")
    dropout = options.get("dropout", 1)
    if dropout is None or dropout < 0.5:
        yield Change("--dropout 0.5", "features that do not rely on one another")
    yield Change(f"--weight-decay {max(1e-4, 10 * settings.weight_decay):g}", "a stronger pull towards zero")
    if settings.patience is None and curves.best_epoch < 0.7 * curves.epochs:
        yield Change(f"--patience {max(3, curves.epochs // 6)}", "saves time; the best epoch's weights are kept anyway")


def _healthy(curves: Curves) -> Iterator[Change]:
    return iter(())


def _rate(curves: Curves, factor: float) -> Change:
    return Change(f"--learning-rate {curves.rate * factor:.2g}", f"it was {curves.rate:g}")


def _longer(curves: Curves, epochs: int) -> Change:
    planned = curves.config.settings.epochs
    if not curves.finished and curves.epochs < planned:
        return Change("--resume", f"{curves.epochs} of {planned} epochs are done")
    return Change(f"--epochs {epochs}", "with --resume and the same --out, it goes on from here")


_REMEDIES: dict[Verdict, Callable[[Curves], Iterator[Change]]] = {
    Verdict.DIVERGED: _diverged,
    Verdict.TOO_SHORT: _too_short,
    Verdict.OSCILLATION: _oscillation,
    Verdict.RATE_TOO_SMALL: _rate_too_small,
    Verdict.OVERFITTING: _overfitting,
    Verdict.TOO_FEW_EPOCHS: _too_few_epochs,
    Verdict.NETWORK_TOO_SMALL: _network_too_small,
    Verdict.HEALTHY: _healthy,
}
