"""What a config trains, without its data: stand-ins for what only the data knows, and the shapes of a batch.

The stand-ins are the codes of the tokenizers that there are, in the sizes that their configs have by default, and the
sizes of a large collection: 64 genres and 1024 artists (the two tables are all that depends on them), tracks of four
minutes.
"""

import dataclasses
import itertools
import math

from musicgen_jax import config, kinds
from musicgen_jax.codes import score_tokens
from musicgen_jax.codes.layout import Layout
from musicgen_jax.nn import flops
from musicgen_jax.training import state

NUM_GENRES, NUM_ARTISTS = 64, 1024
TRACK_SECONDS = 240.0
NUM_NOTES = 512  # of a window, where a prior is told the score: half a minute of dense piano music
NUM_LYRIC_TOKENS, NUM_CHARACTERS = 512, 64  # of a window, where a prior is told the lyrics, and of its alphabet
TEXT_TOKENS, TEXT_WIDTH = 64, 768  # of a caption, where a prior is told one: T5-base's vectors
TOKENS_PER_SECOND = 24.0  # of a score: four voices on sixteenths at 90 quarters a minute

Run = config.PriorTraining | config.VQVAETraining


@dataclasses.dataclass(frozen=True)
class Workload:
    """One training step.

    Attributes:
      run: the config, with stand-ins.
      task: model and loss, layout and shapes of a batch.
      flops: of a step.
      tokens: what a step trains on, in codes; samples of audio for a tokenizer.
    """

    run: Run
    task: state.Task
    flops: flops.StepFlops
    tokens: int


def layout_with(stream: str) -> Layout:
    """Stand-in for the codes of a tokenizer that makes such a stream: of the first kind that does, by default.

    Raises:
      UserError: no kind of tokenizer has a stream of that name.
    """
    tokenizers = [kinds.KINDS[name] for name in kinds.TOKENIZERS]
    layouts = [kind.layout(kind.config().model, "stand-in") for kind in tokenizers]
    names = ", ".join(itertools.chain.from_iterable(one.names for one in layouts))
    found = [one for one in layouts if stream in one.names]
    config.require(bool(found), f"model.tier={stream!r}: no tokenizer has such a stream of codes: there are {names}")
    return found[0]


def resolve(model: config.PriorConfig) -> config.PriorConfig:
    """The prior's config with stand-ins for what `code_dataset.resolve` would read from codes.

    Numbers of codes and codebooks that the config itself says, other than by default, stay: codes of any size can be
    planned for.

    Raises:
      UserError: as `layout_with`; or the values contradict each other.
    """
    layout, default = layout_with(model.tier), config.PriorConfig()
    stream = layout.stream(model.tier)
    sizes = {"num_codes": stream.num_codes, "num_codebooks": stream.num_codebooks}
    resolved = dataclasses.replace(
        model,
        **{name: size for name, size in sizes.items() if getattr(model, name) == getattr(default, name)},
        above=stream.above,
        upsampling=layout.upsampling(model.tier),
        codes_per_second=layout.frames_per_second(model.tier),
        vqvae=layout.fingerprint,
        track_seconds=TRACK_SECONDS,
        **_labels(),
        score_notes=NUM_NOTES if model.score else 0,
        text_tokens=(model.text_tokens or TEXT_TOKENS) if model.text else 0,
        text_width=(model.text_width or TEXT_WIDTH) if model.text else 0,
        lyric_tokens=NUM_LYRIC_TOKENS if model.lyrics else 0,
        characters=_names("character", NUM_CHARACTERS) if model.lyrics else (),
    )
    resolved.validate()
    return resolved


def resolve_composer(model: config.ComposerConfig) -> config.ComposerConfig:
    """The composer's config with stand-ins for what `score_dataset.resolve` would read from scores."""
    return dataclasses.replace(
        model,
        num_codes=score_tokens.of(model).num_codes,
        codes_per_second=TOKENS_PER_SECOND,
        track_seconds=TRACK_SECONDS,
        **_labels(),
    )


def _labels() -> dict[str, object]:
    vocabularies = {"genre": _names("genre", NUM_GENRES), "artist": _names("artist", NUM_ARTISTS)}
    return {"labels": tuple(vocabularies), "vocabularies": vocabularies}


def _names(kind: str, count: int) -> tuple[str, ...]:
    return tuple(f"{kind}{index}" for index in range(count))


def workload(run: Run) -> Workload:
    """The step that `run` trains with.

    Raises:
      UserError: a config that its own validation refuses.
    """
    # No data is read, so any path will do.
    run = dataclasses.replace(run, data=dataclasses.replace(run.data, path=run.data.path or "stand-in"))
    run.validate()
    data = kinds.of(run).data
    if data != "audio":
        run = dataclasses.replace(run, model=(resolve_composer if data == "scores" else resolve)(run.model))
    task = kinds.task(run)
    tokens = math.prod(task.batch["audio" if data == "audio" else "codes"].shape)
    return Workload(run, task, task.flops(), tokens)
