"""What is not collected where an extra is missing: modules that import it have examples that pytest would run."""

from __future__ import annotations

from importlib.util import find_spec

collect_ignore_glob = [
    *([] if find_spec("gradio") else ["cvtl/serving/*"]),
    *([] if find_spec("ray") else ["cvtl/engines/ray_engine.py"]),
]
