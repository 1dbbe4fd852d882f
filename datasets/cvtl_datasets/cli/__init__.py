"""`cvtl data ACTION PATH`: one file per action."""

from __future__ import annotations

import sys
from importlib import import_module

from cvtl.errors import ExitCode, UsageError

ACTIONS = {
    "info": "what is in a data set, with a contact sheet of its pictures",
    "check": "everything that is wrong with a data set",
    "split": "divide it into train, val and test so that nothing leaks",
    "convert": "write it in another format",
    "points": "which points change places in a mirror, guessed and drawn to be checked",
}

_HELP = """\
usage: cvtl data ACTION PATH [options]

Data sets in any known format: class folders, COCO JSON, Pascal VOC XML, YOLO txt, landmark CSV, DeepLabCut.

actions:
{actions}

examples:
  # classes, sizes, boxes, and a picture of them
  cvtl data info photos/
  # what is wrong; exit code 3 if anything is
  cvtl data check photos/ --html check.html
  # the same division every time, near-duplicates kept together
  cvtl data split photos/ --val 0.2 --test 0.1
  # to another format
  cvtl data convert photos/ coco/ --to coco
  # left and right of points, for training with mirrored pictures
  cvtl data points faces/ --write

`cvtl data ACTION --help` lists the options.
"""


def main(arguments: list[str]) -> int:
    """Run one action; `arguments` are the words behind `cvtl data`."""
    action = arguments[0] if arguments else ""
    if action in ("-h", "--help"):
        width = max(map(len, ACTIONS))
        listing = "\n".join(f"  {name:{width}}  {summary}" for name, summary in ACTIONS.items())
        sys.stdout.write(_HELP.format(actions=listing))
        return ExitCode.OK
    if action not in ACTIONS:
        problem = f"there is no action '{action}'" if action else "no action was named behind `cvtl data`"
        raise UsageError(problem, hint=f"The actions are {', '.join(ACTIONS)}; see cvtl data --help")
    return int(import_module(f"cvtl_datasets.cli.{action}").main(arguments[1:]))
