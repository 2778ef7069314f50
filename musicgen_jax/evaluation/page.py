"""Pages of one file: a template beside this module, filled, with the head and the style that all pages share."""

import importlib.resources
import string


def filled(template: str, title: str, **parts: str) -> str:
    """The page of a template file, such as "report_template.html", whose `$name` are `title` and `parts`, as HTML."""
    head = string.Template(_text("page_head.html")).substitute(title=title, style=_text("page_style.css"))
    return string.Template(_text(template)).substitute(parts, title=title, head=head)


def _text(name: str) -> str:
    return importlib.resources.files("musicgen_jax.evaluation").joinpath(name).read_text(encoding="utf-8")
