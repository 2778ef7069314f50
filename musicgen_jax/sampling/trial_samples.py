"""A few samples of a model that is still being trained, to be heard in TensorBoard: short, and always of the same
pieces."""

import jax
import numpy as np

from musicgen_jax import config
from musicgen_jax.codes import code_shards
from musicgen_jax.data import shards
from musicgen_jax.ddsp import synthesizer, timbres
from musicgen_jax.priors import trained
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.sampling import composing, hierarchy, performed, prompts, requests
from musicgen_jax.scores.score import Score
from musicgen_jax.tokenizers.tokenizer import Tokenizer

SECONDS, NUM_SAMPLES = 4.0, 2
SPLIT = "validation"
COMPOSED_SECONDS, COMPOSED_RATE = 8.0, 16_000
Sounds = dict[str, tuple[np.ndarray, int]]


def decoded(prior: trained.TrainedPrior, tokenizer: Tokenizer, seed: int = 0) -> Sounds:
    """Samples of a prior of any stream, decoded: {"sample_0", ...: (float32 [S], sample rate)}.

    They have labels and scores of held-out tracks, and the codes of these in the stream above.

    Args:
      prior: its weights as they are now, on the first local device.
      tokenizer: of its codes.
      seed: of the samples.

    Raises:
      UserError: the codes are of another tokenizer, have no held-out track that is long enough, or the prior must be
        told what they do not tell.
    """
    layout, tier = tokenizer.layout, prior.config.tier
    prior.require_tokenizer(layout)
    tracks, chosen = _held_out(prior.codes_path, layout.hop_length)
    num_samples = min([round(SECONDS * layout.sample_rate), *(tracks.entries[one].num_samples for one in chosen)])
    num_samples -= num_samples % layout.hop_length
    above = layout.stream(tier).above
    read = [tracks.read(one, [above] if above else [], 0, num_samples, num_samples) for one in chosen]
    seconds = num_samples / layout.sample_rate
    prompt = None
    if above:
        prompt = prompts.Prompt(
            "held-out codes", {above: np.stack([one[above] for one in read]).astype(np.int32)}, seconds
        )
    scores = _scores(prior.config, [one.get("notes") for one in read])
    genres = tuple(tracks.entries[one].labels.get("genre", "") for one in chosen)
    known = set(prior.vocabularies.get("genre", ())) - {config.UNKNOWN_LABEL}
    said = {"mode": "upsample" if above else "ancestral", "seconds": seconds, "num_samples": len(chosen), "seed": seed}
    said |= {"genre": genres} if known.issuperset(genres) else {}
    request = requests.of_options(said | {"sampler": prior.sampler})
    request.validate(layout, {tier: prior}, prompt, scores)
    sampler = hierarchy.Hierarchy(
        layout, {tier: prior}, request, prompt, scores=scores, devices=jax.local_devices()[:1], show_progress=False
    )
    codes = sampler.complete()[tier]
    return {f"sample_{n}": (tokenizer.decode(row, tier), layout.sample_rate) for n, row in enumerate(codes)}


def composed(composer: trained.TrainedPrior, seed: int = 0) -> Sounds:
    """Scores of a composer, as the synthesizer plays them: {"composed_0", ...: (float32 [S], sample rate)}.

    Raises:
      UserError: the composer must be told lyrics.
    """
    said = {"seconds": COMPOSED_SECONDS, "num_samples": NUM_SAMPLES, "seed": seed}
    scores = composing.compose(composer, requests.of_options(said)).scores
    played = [synthesizer.render_score(one, timbres.ORGAN, COMPOSED_RATE, COMPOSED_SECONDS) for one in scores]
    return {f"composed_{n}": (audio, COMPOSED_RATE) for n, audio in enumerate(played)}


def _held_out(codes: str, hop: int) -> tuple[code_shards.Tracks, list[int]]:
    """The held-out tracks, and which of them the samples are like."""
    if SPLIT not in shards.split_names(codes):
        raise UserError(f"{codes} has no {SPLIT} split, whose tracks samples would be like")
    tracks = code_shards.Tracks(codes, SPLIT)
    chosen = [number for number, entry in enumerate(tracks.entries) if entry.num_samples >= hop][:NUM_SAMPLES]
    config.require(bool(chosen), f"{codes}: no track of the {SPLIT} split is as long as a code")
    return tracks, chosen


def _scores(model: config.PriorConfig, notes: list[np.ndarray | None]) -> performed.Scores | None:
    """What the samples perform; None where the model is told no score, or a track has none."""
    if not model.score or any(one is None or not len(one) for one in notes):
        return None
    return performed.Scores("held-out scores", tuple(map(Score, notes)))
