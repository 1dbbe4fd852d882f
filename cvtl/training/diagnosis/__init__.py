"""What a training suffers from, told from its curves alone. Torch-free.

curves.py      the curves, from a run folder or a run
measures.py    what they say in numbers
findings.py    what the numbers mean
advice.py      what to change in the command
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvtl.training.diagnosis.advice import Change, changes_for
from cvtl.training.diagnosis.curves import Curves, RunConfig, read_curves
from cvtl.training.diagnosis.findings import Finding, Verdict, find
from cvtl.training.diagnosis.measures import measure

__all__ = ["Change", "Curves", "Diagnosis", "Finding", "RunConfig", "Verdict", "diagnose", "diagnose_curves"]


@dataclass(frozen=True)
class Diagnosis:
    """What the curves of a training show.

    Attributes:
        findings: everything that holds, the gravest first; at least one.
        advice: what to try, each by itself, for the finding in the same place.
        figures: the numbers behind them.
        epochs: epochs done.
        planned: epochs there were to be.
        best_epoch: counted from 1.
        monitor: the figure that chose it.
        best: its value in that epoch.
        finished: whether the training came to its end.
    """

    findings: tuple[Finding, ...]
    advice: tuple[tuple[Change, ...], ...]
    figures: Mapping[str, float]
    epochs: int
    planned: int
    best_epoch: int
    monitor: str
    best: float
    finished: bool

    @property
    def verdict(self) -> Verdict:
        """The gravest finding's."""
        return self.findings[0].verdict

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        findings = [
            {
                "verdict": str(finding.verdict),
                "text": finding.text,
                "figures": dict(finding.figures),
                "try": [{"change": change.words, "why": change.why} for change in changes],
            }
            for finding, changes in zip(self.findings, self.advice, strict=True)
        ]
        return {
            "verdict": str(self.verdict),
            "epochs": self.epochs,
            "planned_epochs": self.planned,
            "finished": self.finished,
            "best_epoch": self.best_epoch,
            "monitor": self.monitor,
            "best": self.best,
            "findings": findings,
            "figures": dict(self.figures),
        }


def diagnose(run_dir: str | Path) -> Diagnosis:
    """Diagnose the training in a folder, finished or not, of any plugin.

    Args:
        run_dir: the folder; config.yaml and metrics.csv are read.

    Raises:
        SourceError: there is no such folder, or it is not that of a training.
        DataError: a file in it is damaged, or no epoch is done.
    """
    return diagnose_curves(read_curves(run_dir))


def diagnose_curves(curves: Curves) -> Diagnosis:
    """Diagnose a training by its curves.

    Example:
        >>> settings = {"epochs": 6, "learning_rate": 1e-6}
        >>> data = {"train": {"samples": 500}, "val": {"samples": 100}}
        >>> config = RunConfig(plugin="windows", options={}, settings=settings, data=data, classes=["car"])
        >>> history = [{"train_loss": 1 - n / 100, "val_loss": 1.1 - n / 100} for n in range(6)]
        >>> found = diagnose_curves(Curves.of(config, history, ("val_loss", "min"), finished=True))
        >>> found.verdict.headline
        'underfitting: the learning rate is too small'
        >>> found.advice[0][0].words
        '--learning-rate 1e-05'
    """
    main = curves.without_head_start()
    measures = measure(main)
    findings = find(main, measures)
    return Diagnosis(
        findings=findings,
        advice=tuple(changes_for(finding.verdict, curves) for finding in findings),
        figures=measures.figures(),
        epochs=curves.epochs,
        planned=curves.config.settings.epochs,
        best_epoch=curves.best_epoch,
        monitor=curves.monitor,
        best=float(curves.figures[curves.monitor][curves.best_epoch - 1]),
        finished=curves.finished,
    )
