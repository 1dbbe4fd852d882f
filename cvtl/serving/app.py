"""The application: pages, the interface for programs and its reference, behind one guard."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from cvtl import __version__
from cvtl.errors import CvtlError
from cvtl.serving import api, reference, uploads
from cvtl.serving.guard import Guard
from cvtl.serving.service import Service

if TYPE_CHECKING:
    from cvtl.serving.pages.page import Page


def make_app(service: Service) -> ASGIApp:
    """Everything that a server answers; it closes the service when it ends."""
    _quiet_gradio(service)
    # Only now: gradio, which this imports, reads these settings then.
    from cvtl.serving.pages import make_page

    page = make_page(service)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title=f"cvtl: {page.title}",
        description=f"Answers by {service.answers.name}.",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    for kind in (HTTPException, CvtlError, Exception):
        app.add_exception_handler(kind, api.error_response)
    app.include_router(api.routes(service))
    app.include_router(reference.routes(app, service.settings))
    # Before gradio's own, which they stand for.
    app.include_router(uploads.routes(service))
    _mount(app, page)
    return Guard(
        app,
        service.settings,
        pictures=2 if service.answers.takes_style else 1,
        is_uploaded=lambda path: service.store.find_path(path) is not None,
    )


def _quiet_gradio(service: Service) -> None:
    """Gradio reports to its makers, and looks for newer versions, unless it is told not to."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["GRADIO_TEMP_DIR"] = str(service.store.folder)


def _mount(app: FastAPI, page: Page) -> None:
    import gradio

    # Without this gradio does not check the files that it is told of; the guard does, too.
    page.blocks.has_launched = True
    gradio.mount_gradio_app(
        app,
        page.blocks,
        path="/",
        footer_links=[],
        run_history=False,
        allowed_paths=[],
        show_error=True,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=page.theme,
        css=page.css,
        head=page.head,
    )
