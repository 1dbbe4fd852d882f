"""What the interface takes and gives: its OpenAPI schema, and a page of it that needs no network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import HTMLResponse

from cvtl.results import Row
from cvtl.serving.choices import Choice
from cvtl.serving.service import PICTURES, Service
from cvtl.serving.settings import ServeSettings

_FOLDER = Path(__file__).parent
_EXAMPLES: dict[str, dict[str, Any]] = {
    "classify": {"labels": ["daisy", "rose"], "scores": [0.93, 0.05]},
    "localize": {"present": 0.99, "label": "car", "score": 0.97, "box": [104.0, 220.5, 168.0, 284.5]},
    "detect": {"boxes": [[104.0, 220.5, 168.0, 284.5]], "scores": [0.98], "labels": ["car"]},
    "landmarks": {"points": [[210.5, 118.0], [262.0, 117.5]], "scores": [0.99, 0.98]},
    "style": {"picture": f"{PICTURES}/1f0c....png"},
}
_SUMMARIES = {
    "classify": "Say what a picture shows.",
    "localize": "Say what a picture shows, and where it is.",
    "detect": "Find every object of the known classes.",
    "landmarks": "Find named points.",
    "style": "Paint a picture in the style of another.",
}
_STATUSES = {
    400: "There is no picture in the request.",
    401: "User and password are needed.",
    413: "The upload is too large, or the picture has too many pixels.",
    415: "What was sent is no picture.",
    422: "The picture is cut off, or the model cannot use it, or a setting does not fit.",
    429: "The client has enough pictures waiting; Retry-After says when to come back.",
    503: "The queue is full, or the server is about to stop; Retry-After says when to come back.",
    504: "The work took too long.",
}


def described(service: Service) -> dict[str, Any]:
    """What FastAPI is told of the route that answers."""
    row = Row(source="photo.jpg", status="ok", task=service.task, width=640, height=480, result=_EXAMPLES[service.task])
    fields: dict[str, Any] = {"picture": _file("The picture, of any common format.")}
    required = ["picture"]
    if service.answers.takes_style:
        fields["style"] = _style(list(service.answers.styles))
        required.append("style")
    fields |= {choice.name: _setting(choice) for choice in service.answers.choices}
    form = {"schema": {"type": "object", "required": required, "properties": fields}}
    content = {"multipart/form-data": form}
    if not service.answers.takes_style:
        content["image/*"] = {"schema": {"type": "string", "format": "binary"}}
    return {
        "summary": _SUMMARIES[service.task],
        "responses": {
            200: {
                "description": "The row that `cvtl run` would write.",
                "content": {"application/json": {"example": json.loads(row.to_json())}},
            },
            **{code: {"description": text} for code, text in _STATUSES.items()},
        },
        "openapi_extra": {"requestBody": {"required": True, "content": content}},
    }


def routes(app: FastAPI, settings: ServeSettings) -> APIRouter:
    """The page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined)
    environment.filters["indented"] = lambda value: json.dumps(value, indent=2, ensure_ascii=False)
    router = APIRouter(include_in_schema=False)

    @router.get("/docs", response_class=HTMLResponse)
    def docs() -> HTMLResponse:
        page = environment.get_template("reference.html").render(schema=app.openapi(), user=settings.auth is not None)
        return HTMLResponse(page)

    return router


def _file(text: str) -> dict[str, Any]:
    return {"type": "string", "format": "binary", "description": text}


def _style(names: list[str]) -> dict[str, Any]:
    if not names:
        return _file("The picture whose style to take.")
    named = {"type": "string", "enum": names}
    return {"anyOf": [_file(""), named], "description": f"A picture, or one of the names {', '.join(names)}."}


def _setting(choice: Choice) -> dict[str, Any]:
    about = {"description": f"{choice.help}.".replace("..", "."), "default": choice.default}
    if choice.words:
        return {"type": "string", "enum": list(choice.words), **about}
    if choice.least is None:
        return {"type": "string", **about}
    kind = "integer" if choice.is_whole else "number"
    return {"type": kind, "minimum": choice.least, "maximum": choice.most, **about}
