"""Pages of one file: a template beside this module, filled, with the head and the style that all pages share."""

import importlib.resources
import string

SKIP_LINK = '<a class="skip" href="#main">Skip to the content</a>'  # for those who read by keyboard or by ear


def filled(template: str, title: str, **parts: str) -> str:
    """The page of a template file, such as "report_template.html", whose `$name` are `title` and `parts`, as HTML, and
    what all pages share: `head`, `skip_link` and `players_script`."""
    head = string.Template(_text("page_head.html")).substitute(title=title, style=_text("page_style.css"))
    shared = {"title": title, "head": head, "skip_link": SKIP_LINK, "players_script": _text("page_players.js")}
    return string.Template(_text(template)).substitute(parts, **shared)


def _text(name: str) -> str:
    """A file of this room, or of another one whose name stands before it, such as "listening/statistics_page.html"."""
    room, _, file = name.rpartition("/")
    place = importlib.resources.files("musicgen_jax").joinpath(room or "evaluation", file)
    return place.read_text(encoding="utf-8")
