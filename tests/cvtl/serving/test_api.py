"""The interface for programs: a picture in, its row out, and an honest status for everything else."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from canned import PATIENCE, Canned, picture, png
from PIL import Image

from cvtl.images import encode

Served = Callable[..., Any]
NOISE = encode(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), ".jpg")
ROW_KEYS = ["source", "frame", "time", "status", "error", "width", "height", "task", "result"]


def test_a_picture_in_a_form_gets_the_row_that_run_would_write(served: Served) -> None:
    client = served()
    answer = client.post("/api/v1/classify", files={"picture": ("deep/photo.jpg", png(204))})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    row = answer.json()
    assert list(row) == ROW_KEYS
    assert row | {"result": None} == dict.fromkeys(ROW_KEYS) | {
        "source": "deep/photo.jpg",
        "status": "ok",
        "width": 30,
        "height": 20,
        "task": "classify",
    }
    assert row["result"] == {"labels": ["<b>light</b>", "dark"], "scores": [0.8, 0.2]}


def test_a_picture_may_be_the_body_itself(served: Served) -> None:
    row = served().post("/api/v1/classify?source=a.png", content=png(0)).json()
    assert (row["source"], row["result"]["labels"][0]) == ("a.png", "dark")


def test_a_picture_is_upright_before_the_model_sees_it(served: Served) -> None:
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(size_hw=(20, 30))).save(turned, "JPEG", exif=exif)
    row = served().post("/api/v1/classify", content=turned.getvalue()).json()
    assert (row["width"], row["height"]) == (20, 30)


@pytest.mark.parametrize(
    ("content", "code", "status", "said"),
    [
        (b"#!/bin/sh\necho hello\n", 415, "unreadable", "it is not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "unreadable", "it is not a picture"),
        (
            encode(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), ".jpg")[:-900],
            422,
            "truncated",
            "it is cut off",
        ),
        (png(size_hw=(60, 60)), 413, "too_large", "3600 pixels, more than the limit of 2500"),
        (png(13), 422, "failed", "the network's output is not finite"),
    ],
    ids=["script", "drawing", "cut off", "many pixels", "model fails"],
)
def test_a_bad_picture_has_a_row_that_says_why(
    served: Served, content: bytes, code: int, status: str, said: str
) -> None:
    client = served(max_pixels=2500) if status == "too_large" else served()
    answer = client.post("/api/v1/classify", files={"picture": ("photo.png", content, "image/png")})
    row = answer.json()
    assert (answer.status_code, row["status"]) == (code, status)
    assert said in row["error"]
    assert "Traceback" not in answer.text


def test_without_a_picture_the_request_is_refused(served: Served) -> None:
    answer = served().post("/api/v1/classify", files={"photo": ("a.png", png())})
    assert answer.status_code == 400
    assert "there is no picture" in answer.json()["error"]


@pytest.mark.parametrize("declared", [True, False])
def test_an_upload_beyond_the_limit_is_refused(served: Served, declared: bool) -> None:
    client = served(max_upload=0.1)
    big = b"\0" * 400_000
    content = big if declared else iter([big[:200_000], big[200_000:]])
    answer = client.post("/api/v1/classify", content=content)
    assert answer.status_code == 413
    assert answer.json() == {"error": "the upload is larger than 0.1 megabytes"}


def test_a_form_that_is_damaged_is_a_bad_request(served: Served) -> None:
    answer = served().post(
        "/api/v1/classify", content=b"--x\r\nnonsense", headers={"content-type": "multipart/form-data; boundary=x"}
    )
    assert answer.status_code == 400


def test_a_full_queue_says_when_to_come_back(served: Served) -> None:
    answers = Canned()
    answers.go.clear()
    client = served(answers, queue=1, per_client=10, batch_size=1)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(client.post, "/api/v1/classify", content=png())
        assert answers.begun.wait(PATIENCE)
        second = pool.submit(client.post, "/api/v1/classify", content=png())
        while client.service.jobs.waiting == 0:
            threading.Event().wait(0.001)
        refused = client.post("/api/v1/classify", content=png())
        answers.go.set()
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert [each.result(PATIENCE).status_code for each in (first, second)] == [200, 200]


def test_a_client_with_enough_pictures_is_told_so(served: Served) -> None:
    answers = Canned()
    answers.go.clear()
    client = served(answers, per_client=1)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/api/v1/classify", content=png())
        assert answers.begun.wait(PATIENCE)
        refused = client.post("/api/v1/classify", content=png())
        answers.go.set()
        assert refused.status_code == 429
        assert first.result(PATIENCE).status_code == 200


def test_work_that_takes_too_long_is_told_so(served: Served) -> None:
    answers = Canned()
    answers.go.clear()
    answer = served(answers, time_limit=0.05).post("/api/v1/classify", content=png())
    answers.go.set()
    assert answer.status_code == 504
    assert "longer than 0.05 seconds" in answer.json()["error"]


def test_what_should_not_happen_is_told_without_a_traceback(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    client = served()
    monkeypatch.setattr(client.service, "decode", lambda content: 1 / 0)
    answer = client.post("/api/v1/classify", content=png())
    assert answer.status_code == 500
    assert answer.json() == {"error": "this should not have happened; the server's log says more"}


def test_a_painted_picture_can_be_fetched(served: Served) -> None:
    client = served(Canned("style"))
    answer = client.post("/api/v1/style", files={"picture": ("a.png", png(77))}, data={"style": "waves", "steps": "9"})
    address = answer.json()["result"]["picture"]
    fetched = client.get(f"/api/v1/{address}")
    assert fetched.headers["content-type"] == "image/png"
    assert (np.asarray(Image.open(io.BytesIO(fetched.content))) == 77).all()


def test_a_setting_beyond_its_limits_is_refused(served: Served) -> None:
    files = {"picture": ("a.png", png()), "style": ("s.png", png())}
    answer = served(Canned("style")).post("/api/v1/style", files=files, data={"steps": "51"})
    assert answer.status_code == 422
    assert answer.json()["error"] == "option 'steps': must lie between 1 and 50, not 51."


def test_a_style_that_is_no_picture_is_refused(served: Served) -> None:
    files = {"picture": ("a.png", png()), "style": ("s.png", b"no picture")}
    answer = served(Canned("style")).post("/api/v1/style", files=files)
    assert answer.status_code == 415
    assert answer.json()["error"].startswith("the style cannot be used: it is not a picture")


def test_health_says_whether_pictures_are_taken(served: Served) -> None:
    client = served()
    answer = client.get("/health")
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["task"], answer.json()["waiting"]) == ("ok", "classify", 0)
    client.service.jobs.drain(0)
    answer = client.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "stopping")


def test_metrics_count_pictures_by_what_became_of_them(served: Served) -> None:
    client = served()
    for content in (png(), png(13), b"no picture", png()):
        client.post("/api/v1/classify", content=content)
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    for status, count in {"ok": 2, "failed": 1, "unreadable": 1}.items():
        assert f'cvtl_pictures_total{{status="{status}"}} {count}' in lines
    assert "cvtl_answer_seconds_count 2" in lines
    assert "cvtl_waiting 0" in lines
    assert answer.text.endswith("\n")


def test_the_reference_describes_the_interface_and_loads_nothing_from_elsewhere(served: Served) -> None:
    client = served(Canned("style"))
    page = client.get("/docs").text
    for part in ("/api/v1/style", "/health", "/metrics", "steps", "From 1 to 50"):
        assert part in page
    assert "http://" not in page.replace("http://HOST:PORT", "")
    assert "https://" not in page
    assert "<script" not in page
    schema = client.get("/openapi.json").json()
    form = schema["paths"]["/api/v1/style"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["picture", "style"]
    assert form["properties"]["steps"]["maximum"] == 50
