"""Pages of one file: a template beside this module, filled, with the style that all pages share."""

import importlib.resources
import string


def filled(template: str, **parts: str) -> str:
    """The page of a template file, such as "report_template.html", whose `$name` are `parts`, as HTML."""
    return string.Template(_text(template)).substitute(parts, style=_text("page_style.css"))


def _text(name: str) -> str:
    return importlib.resources.files("musicgen_jax.evaluation").joinpath(name).read_text(encoding="utf-8")
