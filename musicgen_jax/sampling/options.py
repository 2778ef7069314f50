"""What may be said of the music that is sampled: one declaration an option.

From an entry of `OPTIONS` follow the flag of `sample`, the argument of `musicgen_jax.load(...).generate` with its
checks, the field of `requests.Request` (or of its `settings`), what samples.json records, and the documentation in
docs/sampling.md, which `python -m musicgen_jax.sampling.options > docs/sampling.md` writes. A new option is a new
entry; who needs its value reads the request's field.

Nothing heavy is imported here: flags are defined before JAX is there.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from musicgen_jax import config
from musicgen_jax.runtime import errors, records
from musicgen_jax.sampling.option import TYPES, ByStream, Option, Value

MAX_SECONDS, MAX_NUMBER = 100_000, 1_000_000  # positions of any stream fit into 32 bits

OPTIONS = (
    Option(
        "seconds",
        "number",
        8.0,
        "Length of each sample, prompt included; the score's, or 8; with `mode`=upsample the prompt's own.",
        flag_default=None,
        fits=lambda seconds: 0 < seconds <= MAX_SECONDS,
        rule=f"must be greater than 0, and at most {MAX_SECONDS}",
    ),
    Option(
        "num_samples",
        "whole",
        1,
        "How many samples, made together.",
        flag_default=4,
        fits=lambda number: 0 < number <= MAX_NUMBER,
        rule=f"must be at least 1, and at most {MAX_NUMBER}",
    ),
    Option(
        "seed",
        "whole",
        0,
        "Same seed, same samples.",
        # jax.random.key takes the lower 32 bits of a seed: others would give the samples of some other seed.
        fits=lambda seed: 0 <= seed < 2**32,
        rule=f"must be from 0 to {2**32 - 1}",
    ),
    Option(
        "seeds",
        "wholes",
        (),
        "A seed for each sample, taken by turns: each is then what it would be alone, as the first of its `seed`.",
        fits=lambda seeds: all(0 <= seed < 2**32 for seed in seeds),
        rule=f"each must be from 0 to {2**32 - 1}",
    ),
    Option(
        "mode",
        "text",
        "ancestral",
        "From nothing or from `prompt`; continue where that is given.",
        flag_default=None,
        choices=config.MODES,
    ),
    Option(
        "prompt",
        "source",
        None,
        "Prompt: a recording, X.codes of extract_codes, codes.npz of samples, or a MIDI file to be played.",
        flag="prime",
        field=None,
    ),
    Option(
        "score",
        "source",
        None,
        "What is performed: a MIDI or MusicXML file, or the workdir of a composer, which writes one for each sample; "
        "by default the composer beside the priors does, unless a recording or codes go on; empty is no score. NNN.mid "
        "is that of NNN.wav.",
        field=None,
    ),
    Option(
        "text",
        "texts",
        (),
        "What the music is like, in words, for priors that read text; several are taken by turns, by default a sample "
        "each.",
        field="texts",
    ),
    Option(
        "melody",
        "source",
        None,
        "A recording whose melody the music follows, for priors that were trained so; best a voice or an instrument "
        "alone.",
    ),
    Option(
        "timbre",
        "text",
        "",
        "Of the synthesizer where it plays a prompt, or what a composer alone has written; by default the genre's.",
        field=None,
    ),
    Option(
        "temperature",
        "by_stream",
        1.0,
        "By stream: below 1 safer, above 1 wilder; 0.8~1.2 (in Python a pair) moves evenly over the length.",
        course=True,
        fits=lambda number: 0 < number < math.inf,
        rule="must be greater than 0, and finite",
        field="settings.temperature",
    ),
    Option(
        "top_p",
        "by_stream",
        0.9,
        "By stream: the fewest codes whose probabilities reach this (nucleus, Holtzman et al. 2020); 1 keeps all, as "
        "MusicGen does where nothing is said.",
        flag_default=None,
        fits=lambda share: 0 < share <= 1,
        rule="must be in (0, 1]; 1 keeps all codes",
        field="settings.top_p",
    ),
    Option(
        "top_k",
        "by_stream",
        0,
        "By stream: only the k most probable codes; 0 keeps all, and MusicGen has 250 where nothing is said. With "
        "`top_p` both apply.",
        flag_default=None,
        whole=True,
        fits=lambda number: number >= 0 and float(number).is_integer(),
        rule="must be 0 (off) or a whole number of codes",
        field="settings.top_k",
    ),
    Option(
        "guidance",
        "by_stream",
        1.0,
        "By stream: above 1, what `guide_by` names counts more than in the data (classifier-free guidance, Ho and "
        "Salimans 2022); 1 is off. MusicGen has 3 where a text or a melody is given and nothing is said.",
        flag_default=None,
        fits=lambda number: 0 <= number < math.inf,
        rule="must be 0 or more; 1 is off",
        field="settings.guidance",
    ),
    Option(
        "guide_by",
        "names",
        ("labels",),
        "Conditions that guidance compares with and without: labels (all together), timing, above, score, lyrics, text "
        "(and melody); by default score, lyrics and text where they are given, else labels. Priors of compress "
        "--method=guide know those that they were taught with alone",
        flag_default=None,
        fits=lambda names: len(names) > 0,
        rule="must name one at least",
    ),
    Option(
        "genre",
        "names",
        (),
        "Genre labels that the samples take by turns; a wrong one lists those the priors know, none is unknown",
        field="genres",
    ),
    Option("artist", "text", "", "Artist label; none is unknown."),
    Option(
        "labels",
        "labels",
        (),
        "Other labels, those that the training data have, such as pitch or family; several values of one are taken by "
        "turns, and what is not named is unknown",
        flag_default=None,
        fits=lambda labels: not {"genre", "artist"} & set(dict(labels)),
        rule="`genre` and `artist` say these two",
    ),
    Option("lyrics", "document", "", "The words, for priors that hear lyrics; docs/lyrics.md says when each is sung."),
    Option(
        "hop_fraction",
        "by_stream",
        0.5,
        "By stream: how far a window moves on, in contexts; of MusicGen 0.6, 18 s, where nothing is said.",
        flag_default=None,
        fits=lambda share: 0 < share <= 1,
        rule="must be in (0, 1]",
    ),
    Option(
        "total_seconds",
        "number",
        0.0,
        "Length of the piece the samples begin, which priors are told; 0: what is usual in the training data, or "
        "`seconds` if that is more.",
    ),
    Option(
        "form",
        "text",
        "",
        "Sections of what a composer of a grid writes, a letter each: AABA. They are equally long, in whole bars, and "
        "share out the piece; one whose letter was there before returns note by note. A prompt begins the first.",
        fits=lambda form: not form or (form.isascii() and form.isalpha()),
        rule="must be letters alone, one for each section: AABA",
    ),
    Option(
        "batch_size",
        "whole",
        None,
        "Windows at a time; changes the speed, not the result. 8; of parallel ones 32 a device.",
        fits=lambda number: 0 < number <= MAX_NUMBER,
        rule=f"must be at least 1, and at most {MAX_NUMBER}",
        decides=False,
    ),
    Option(
        "parallel_windows",
        "truth",
        False,
        "Windows of streams below another side by side, `batch_size` at a time, on all devices: see "
        "windows.independent.",
    ),
    Option(
        "cache_dtype",
        "text",
        "compute",
        "Of the keys and values of the past; int8 takes a quarter of float32's memory, and rounds.",
        choices=config.CACHE_DTYPES,
    ),
    Option(
        "sampler",
        "text",
        "autoregressive",
        "How codes are drawn; by default as the models do it.",
        flag_default=None,
        choices=config.SAMPLERS,
    ),
    Option(
        "steps",
        "whole",
        None,
        "Of the diffusion sampler: parallel steps for a window; those that the model was distilled for, or 8.",
    ),
)


def find(name: str) -> Option:
    """The option of that name. Raises UserError where there is none."""
    names = [option.name for option in OPTIONS]
    near = records.nearest(name, names)
    config.require(name in names, f"{name}: no such option{near}; there are {', '.join(names)}")
    return OPTIONS[names.index(name)]


def fields(group: str = "") -> list[tuple[str, Any, Any]]:
    """What `dataclasses.make_dataclass` takes for the fields of a request, or of a group of them such as "settings"."""
    found = []
    for option in OPTIONS:
        in_group, _, name = (option.field or "").rpartition(".")
        if name and in_group == group:
            found.append((name, Any, dataclasses.field(default=option.default)))
    return found


def completed(request: Mapping[str, Any]) -> dict[str, Any]:
    """A request as a folder records it: with the defaults of options that are younger, without what decides nothing.

    Args:
      request: `dataclasses.asdict` of one, perhaps by way of JSON; what is no such record comes back as it is.
    """
    if not isinstance(request, Mapping):
        return request
    whole = dict(request)
    for option in OPTIONS:
        *groups, name = (option.field or "").split(".")
        part = whole
        for group in groups:
            part[group] = dict(part[group]) if isinstance(part.get(group), Mapping) else {}
            part = part[group]
        if not option.decides:
            part.pop(name, None)
        elif name:
            part.setdefault(name, list(option.default) if isinstance(option.default, tuple) else option.default)
    return whole


def values(value: ByStream) -> list[Value]:
    """The one value for all streams, or those of each."""
    return list(value.values()) if isinstance(value, Mapping) else [value]


def of_stream(value: ByStream, stream: str, default: Value) -> Any:
    """The stream's own value, or the one for all; `default` for one that a mapping leaves out."""
    return value.get(stream, default) if isinstance(value, Mapping) else value


def documented(method: Callable) -> Callable:
    """Adds every option to a method's docstring."""
    lines = [f"  {option.name}: {errors.plain(option.help)} ({TYPES[option.type]})" for option in OPTIONS]
    method.__doc__ = f"{method.__doc__.rstrip()}\n\n        Options:\n" + "".join(f"        {line}\n" for line in lines)
    return method


def documentation() -> str:
    """docs/sampling.md: all options in Markdown."""
    rows = []
    for option in OPTIONS:
        choices = f": {', '.join(option.choices)}" if option.choices else ""
        rule = f"; {option.rule}" if option.rule else ""
        rows.append(f"### `{option.name}`, `--{option.flag_name}`\n\n{option.help}\n")
        kind = TYPES[option.type]
        rows.append(f"{kind[0].upper()}{kind[1:]}{choices}{rule}. Default: {_shown(option)}.\n")
    return "\n".join([_INTRODUCTION, *rows])


_INTRODUCTION = """# What can be said of the music

`python -m musicgen_jax.sample` takes these as flags, `musicgen_jax.load(...).generate(...)`, `stream` and `write` as
arguments. samples.json holds them under `request`. This page is made of `musicgen_jax/sampling/options.py`.
"""


def _shown(option: Option) -> str:
    if option.default in (None, "", ()):
        return "none"
    shown = ",".join(option.default) if isinstance(option.default, tuple) else option.default
    own = f"; of the flag {option.flag_value}" if option.flag_value not in (None, option.default) else ""
    return f"{shown}{own}"


if __name__ == "__main__":
    print(documentation())
