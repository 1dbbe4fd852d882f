"""`cvtl doctor`: what is installed, what can be used, and the cure for what is known to go wrong."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, distribution, distributions, requires, version
from importlib.util import find_spec
from typing import Literal

from cvtl.cli.parser import VerbParser
from cvtl.data import formats
from cvtl.errors import ExitCode, PluginError
from cvtl.registry import PluginSpec, plugins
from cvtl.terminal import print_json, printable, table, terminal
from cvtl.verbs import VerbSpec, verbs

State = Literal["ok", "note", "problem"]

_SHOWN = ("torch", "torchvision", "timm", "opencv-python", "supervision", "safetensors", "lightning", "numpy", "pillow")
_REINSTALL_OPENCV = "pip install --force-reinstall --no-deps opencv-python"
_STATES: dict[str, State] = {"ok": "ok", "disabled": "note", "broken": "problem"}
_STYLES = {"ok": "green", "note": "", "problem": "red"}


@dataclass(frozen=True)
class Finding:
    """One line of the examination."""

    subject: str
    state: State
    text: str


def main(arguments: list[str]) -> int:
    """Run the verb; `arguments` are the words behind it."""
    parser = VerbParser(
        "doctor",
        "Look over this installation: versions, devices, display, OpenCV, extras, plugins. Exit code 1 on a problem.",
        [("cvtl doctor", "a table"), ("cvtl doctor --json", "the same for programs")],
    )
    parser.add_flag("json", help="print JSON")
    options = parser.parse(arguments)
    findings = [*_versions(), *_devices(), *opencv(), _display(), *_extras(), *_plugins()]
    if options["json"]:
        print_json([asdict(finding) for finding in findings])
    else:
        shown = table("what", "state", "about")
        for finding in findings:
            shown.add_row(finding.subject, finding.state, printable(finding.text), style=_STYLES[finding.state])
        terminal().print(shown)
    return ExitCode.FAILED if any(finding.state == "problem" for finding in findings) else ExitCode.OK


def opencv(installed: Iterable[str] | None = None) -> list[Finding]:
    """Whether exactly one distribution has written the `cv2` folder, and whether it works.

    Args:
        installed: names of the installed distributions, by default those of this environment.
    """
    # What is left of a distribution that was uninstalled halfway has no name.
    names = {str(dist.name) for dist in distributions()} if installed is None else set(installed)
    owners = sorted(name for name in names if re.fullmatch(r"opencv[-_](contrib[-_])?python([-_]headless)?", name))
    findings = []
    if len(owners) > 1:
        others = " ".join(name for name in owners if name != "opencv-python")
        cure = f"pip uninstall --yes {others} && {_REINSTALL_OPENCV}"
        problem = f"{' and '.join(owners)} have written the same folder cv2; cure: {cure}"
        findings.append(Finding("OpenCV", "problem", problem))
    try:
        import cv2

        findings.append(Finding("cv2", "ok", f"{cv2.__version__}, windows by {cv2.currentUIFramework() or 'nothing'}"))
    except (ImportError, AttributeError) as error:
        cure = "install libgl1 and libglib2.0-0" if ".so" in str(error) else _REINSTALL_OPENCV
        findings.append(Finding("cv2", "problem", f"{error}; cure: {cure}"))
    return findings


def _versions() -> list[Finding]:
    findings = [Finding("Python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")]
    for name in ("cvtl", *_SHOWN):
        try:
            findings.append(Finding(name, "ok", version(name)))
        except PackageNotFoundError:
            findings.append(Finding(name, "problem", f"is not installed; cure: pip install {name}"))
    return findings


def _devices() -> list[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:
        return [Finding("devices", "problem", f"torch cannot be imported: {error}")]
    threads = f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads"
    findings = [Finding("device cpu", "ok", threads)]
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        findings.append(Finding(f"device cuda:{index}", "ok", f"{about.name}, {about.total_memory / 2**30:.0f} GiB"))
    if torch.backends.mps.is_available():
        findings.append(Finding("device mps", "ok", "Apple GPU"))
    if len(findings) == 1:
        findings.append(Finding("device cuda", "note", "no GPU was found; everything works on the CPU"))
    return findings


def _display() -> Finding:
    shows = sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if shows:
        return Finding("display", "ok", "there is one")
    return Finding("display", "note", "there is none: windows cannot be opened, pictures can be written")


def _extras() -> list[Finding]:
    """The optional parts of cvtl, read from its own metadata; the developers' tools are left out."""
    wanted: dict[str, list[str]] = {}
    for requirement in requires("cvtl") or []:
        marker = re.search(r"extra == ['\"](\w+)['\"]", requirement)
        name = re.match(r"[\w.-]+", requirement)
        if marker and name and marker[1] != "dev":
            wanted.setdefault(marker[1], []).append(name[0])
    findings = []
    for extra, names in sorted(wanted.items()):
        absent = [name for name in names if not _is_installed(name)]
        text = f"absent: {', '.join(absent)}; pip install 'cvtl[{extra}]'" if absent else "installed"
        findings.append(Finding(f"extra [{extra}]", "note" if absent else "ok", text))
    return findings


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return find_spec(name.replace("-", "_")) is not None
    return True


def _plugins() -> list[Finding]:
    """Every plugin, data set format and verb, and the code of plugins and verbs, which listing them does not import."""
    findings = []
    for registry in (plugins(), formats(), verbs()):
        for listing in registry.listings():
            state, text = listing.state, listing.reason or f"{listing.distribution} {listing.version}"
            try:
                if isinstance(listing.spec, PluginSpec):
                    listing.spec.model_type()
                elif isinstance(listing.spec, VerbSpec):
                    listing.spec.function()
            except PluginError as error:
                state, text = "broken", error.what
            findings.append(Finding(f"{registry.noun} {listing.name}", _STATES[state], text))
    return findings
