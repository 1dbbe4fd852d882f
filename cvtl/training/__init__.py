"""Training: the one loop over any `cvtl.model.Model`, and the folder it writes.

    run.py         `train`: opens the folder, lets the model fit itself, writes the summary
    settings.py    what a user may set
    folder.py      the run folder: history, best weights, what may go on and what may not
    loop.py        the Lightning loop, which is `Model.fit` unless a plugin has a better way
    samples.py     samples to batches, and the seeds of everything random
    memory.py      pictures decoded once, at the size that samples need
    objects.py     what detectors train on: views and mosaics, and the boxes that they show
    measuring.py   how well a detector does on a validation picture, in next to no time
    averaging.py   the average of the weights that goes along
    optimizers.py  those that settings name
    schedule.py    the learning rate as a function of what has happened
    interrupts.py  Ctrl-C and SIGTERM
    launching.py   the processes of one training: where each stands, starting and ending those of a machine
    processes.py   what they say to one another
    whole_batch.py a batch shared out among them, and what of a step depends on all of it
    summary.py     curves.png and report.md
    diagnosis/     what the curves say of a training, and what to try next

What happens in an epoch is a function of the seed, the epoch, and the weights and optimizer state at its start. Nothing
random is carried from one step to the next, so that a training resumed from the last epoch's end equals an
uninterrupted one bit for bit.

Importing this package imports neither torch nor Lightning.
"""

from cvtl.training.run import TrainReport, train
from cvtl.training.settings import TrainSettings

__all__ = ["TrainReport", "TrainSettings", "train"]
