"""The pages for people: one for each kind of task, built with gradio. Importing this imports gradio."""

from __future__ import annotations

from cvtl.serving.pages.art import art_page
from cvtl.serving.pages.classify import classify_page
from cvtl.serving.pages.found import found_page
from cvtl.serving.pages.page import Page
from cvtl.serving.service import Service


def make_page(service: Service) -> Page:
    """The page for what a service is for."""
    if service.task == "style":
        return art_page(service)
    return classify_page(service) if service.task == "classify" else found_page(service)
