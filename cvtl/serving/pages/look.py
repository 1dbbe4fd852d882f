"""How the pages look. Fonts are those that the visitor's machine has: nothing is loaded from elsewhere."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E"
    "%3Crect width='32' height='32' rx='8' fill='%234f46e5'/%3E"
    "%3Cpath d='M9 9h5M9 9v5M23 9h-5M23 9v5M9 23h5M9 23v-5M23 23h-5M23 23v-5' stroke='white' stroke-width='2.5' "
    "stroke-linecap='round' fill='none'/%3E%3Ccircle cx='16' cy='16' r='3' fill='white'/%3E%3C/svg%3E"
)
_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
_MONO_FONTS = ("ui-monospace", "SF Mono", "Menlo", "Consolas", "monospace")
HEAD = f'<link rel="icon" href="{_ICON}">'


def css() -> str:
    """What gradio's theme does not say."""
    return (Path(__file__).parent / "page.css").read_text(encoding="utf-8")


def theme() -> gr.themes.Base:
    """Colours and shapes, by day and by night."""
    made = gr.themes.Base(
        primary_hue="indigo",
        secondary_hue="indigo",
        neutral_hue="slate",
        radius_size="lg",
        font=[gr.themes.Font(name) for name in _FONTS],
        font_mono=[gr.themes.Font(name) for name in _MONO_FONTS],
    )
    gradient, darker = "linear-gradient(120deg, #4f46e5, #7c3aed)", "linear-gradient(120deg, #4338ca, #6d28d9)"
    return made.set(
        body_background_fill="#f5f6fa",
        body_background_fill_dark="#10131a",
        body_text_color="#1a2130",
        body_text_color_dark="#e6eaf2",
        body_text_color_subdued="#5b6577",
        body_text_color_subdued_dark="#98a3b6",
        background_fill_primary="white",
        background_fill_primary_dark="#1a1f2a",
        block_background_fill="white",
        block_background_fill_dark="#1a1f2a",
        block_border_color="#e2e6ee",
        block_border_color_dark="#2c3443",
        block_radius="14px",
        block_shadow="0 1px 2px rgb(20 30 60 / .05), 0 6px 20px rgb(20 30 60 / .05)",
        block_shadow_dark="none",
        block_label_background_fill="white",
        block_label_background_fill_dark="#1a1f2a",
        block_label_text_color="#3b4560",
        block_label_text_color_dark="#c4ccda",
        block_label_text_weight="600",
        button_large_radius="12px",
        button_large_text_weight="650",
        button_primary_background_fill=gradient,
        button_primary_background_fill_dark=gradient,
        button_primary_background_fill_hover=darker,
        button_primary_background_fill_hover_dark=darker,
        button_primary_text_color="white",
        link_text_color="#4338ca",
        link_text_color_dark="#a5b4fc",
    )
