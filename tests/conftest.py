"""What several tests share."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

# Tests import `commands` from here.
sys.path.insert(0, str(Path(__file__).parent / "support"))

from commands import Command, Said

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch is imported, here and in processes under test: workers that fight for cores wait for one another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
THIRD_PARTY = Path(__file__).parent / "third_party"

DESKTOP_WH = (1280, 900)

Cvtl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session", autouse=True)
def own_feature_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests, and the processes they start, leave the user's feature cache alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CVTL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"the shared data sets are not at {SHARED}")
    return SHARED


InstallPlugins = Callable[[Mapping[str, tuple[Mapping[str, str], Mapping[str, str]]]], Path]


@pytest.fixture(scope="session")
def install_plugins(tmp_path_factory: pytest.TempPathFactory) -> InstallPlugins:
    """Build throw-away distributions and install them into a new folder, to be put on a path.

    Each is given as {module: its source} and {entry point: what it names}; a module with a slash lies in a package.
    """

    def write(folder: Path, name: str, modules: Mapping[str, str], points: Mapping[str, str]) -> Path:
        listed = "\n".join(f'{point} = "{value}"' for point, value in points.items())
        packages = sorted({module.split("/")[0] for module in modules if "/" in module})
        singles = [module for module in modules if "/" not in module]
        folder.mkdir()
        (folder / "pyproject.toml").write_text(
            '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
            f'[project]\nname = "{name}"\nversion = "1.2"\n[project.entry-points."cvtl.plugins"]\n{listed}\n'
            f"[tool.setuptools]\npackages = {json.dumps(packages)}\npy-modules = {json.dumps(singles)}\n"
        )
        for module, source in modules.items():
            (folder / f"{module}.py").parent.mkdir(exist_ok=True)
            (folder / f"{module}.py").write_text(source)
        return folder

    def install(distributions: Mapping[str, tuple[Mapping[str, str], Mapping[str, str]]]) -> Path:
        top = tmp_path_factory.mktemp("plugins")
        projects = [write(top / name, name, *parts) for name, parts in distributions.items()]
        _pip_install(top / "site", *projects)
        return top / "site"

    return install


def _pip_install(target: Path, *projects: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-index", "--no-deps"]
    command = [*pip, "--no-build-isolation", "--target", str(target), *map(str, projects)]
    subprocess.run(command, check=True, capture_output=True, text=True)


@pytest.fixture(scope="session")
def glow_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the third party's plugin `glow` installed into it, to be put on a path."""
    site = tmp_path_factory.mktemp("third_party") / "site"
    source = tmp_path_factory.mktemp("source") / "cvtl-glow"
    # pip builds inside the source folder, which is the checkout's otherwise.
    subprocess.run(["cp", "-r", str(THIRD_PARTY), str(source)], check=True)
    _pip_install(site, source)
    return site


@pytest.fixture
def glow(glow_site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The plugin `glow` installed in this process and in those it starts; gives weights of it."""
    from cvtl import weights
    from cvtl.registry import plugins

    monkeypatch.syspath_prepend(str(glow_site))
    monkeypatch.setenv("PYTHONPATH", str(glow_site), prepend=os.pathsep)
    plugins.cache_clear()
    path = glow_site.parent / "glow.safetensors"
    if not path.exists():
        import torch

        spec = plugins().get("glow")
        model = spec.model_type().initialize(spec.options_type()(), ["lamp"])
        with torch.no_grad():
            model.linear.weight[:] = torch.tensor([[1.0, 0.5, 0.25]])
            model.linear.bias.zero_()
        weights.save(model, path, seed=0)
    yield path
    plugins.cache_clear()


@pytest.fixture
def columns() -> int:
    """Width of the terminal that commands in this process see."""
    return 100


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, columns: int
) -> Command:
    """Run `cvtl` in this process, in an empty working folder."""
    from cvtl.cli.main import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", str(columns))

    def run(*words: str | Path) -> Said:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture
def cvtl() -> Cvtl:
    """Run the `cvtl` command in a process of its own."""

    def run(*words: str | Path, **keywords: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cvtl.cli.main", *map(str, words)]
        environment = os.environ | {"COLUMNS": "200"}
        return subprocess.run(command, capture_output=True, text=True, env=environment, **keywords)  # type: ignore[call-overload,no-any-return]

    return run


@pytest.fixture(scope="session")
def write_picture() -> Callable[..., Path]:
    """Write a picture of one shade."""
    return save_picture


def save_picture(path: Path, *, grey: int = 128, size_hw: tuple[int, int] = (24, 32)) -> Path:
    """A picture of one shade with a little noise, so that no two are equal."""
    random = np.random.default_rng([grey, *size_hw])
    image = np.clip(grey + random.integers(-5, 6, (*size_hw, 3)), 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


@pytest.fixture(scope="session")
def make_messy_folder() -> Callable[[Path, int], Path]:
    """Fill a folder with pictures in subfolders that share file names, every tenth of them bad."""

    def make(folder: Path, count: int) -> Path:
        for number in range(count):
            path = folder / f"day{number % 3}" / f"img{number // 3:05d}.png"
            save_picture(path, grey=number * 37 % 251, size_hw=(16 + number % 5, 24 + number % 7))
            if number % 10 == 3:
                path.write_bytes(path.read_bytes()[: -40 if number % 20 == 3 else 30])
            elif number % 10 == 7:
                path.write_bytes(b"" if number % 20 == 7 else b"no picture")
        return folder

    return make


@dataclass
class Visit:
    """A page in a browser, and what went on while it was looked at."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)

    @property
    def overflow(self) -> int:
        """Pixels that the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - innerWidth"))


Visiting = Callable[..., Visit]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, or another one on the path, without a window."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(names)} is installed")
    # Chromium refuses to run as root with its sandbox, as in containers.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visiting]:
    """Open a file as its reader would, from the disk and without a network."""
    pages = []

    def open_(path: Path, size_wh: tuple[int, int] = DESKTOP_WH, *, script: bool = True, dark: bool = False) -> Visit:
        page = browser.new_page(
            viewport={"width": size_wh[0], "height": size_wh[1]},
            java_script_enabled=script,
            color_scheme="dark" if dark else "light",
            offline=True,
        )
        pages.append(page)
        visit = Visit(page)
        page.on("console", lambda message: visit.complaints.append(message.text))
        page.on("pageerror", lambda error: visit.complaints.append(str(error)))
        page.on("request", lambda request: visit.addresses.append(request.url))
        page.goto(path.as_uri())
        return visit

    yield open_
    for page in pages:
        page.close()
