"""How far samples lie from recordings, beside how far recordings lie from each other."""

from typing import Any

import numpy as np

from musicgen_jax.evaluation import embeddings, frechet_distance
from musicgen_jax.runtime.errors import UserError


def frechet_audio_distance(
    samples: list[np.ndarray], references: list[np.ndarray], sample_rate: int
) -> tuple[dict[str, Any], dict[str, str]]:
    """Fréchet distance of the samples from all held-out recordings, and its floor.

    The floor is the same figure for as many clips of the recordings themselves, as long as the samples, against the
    rest of the recordings: what a perfect model would have at so few frames. It is 0 only for endlessly many.

    Args:
      samples: float [S] each.
      references: held-out recordings, float [S] each.
      sample_rate: Hz, of both.

    Returns:
      value, embedding, dimensions, num_clips, num_short_clips (samples left out, being shorter than a frame),
      clip_seconds, num_frames, num_reference_frames, reliable (whether both sets have at least as many frames as the
      embedding has dimensions; fewer do not determine a covariance), and floor, floor_num_frames,
      floor_num_reference_frames. Beside it, what is absent of these and why.

    Raises:
      UserError: samples or recordings give fewer than two frames.
    """
    embedded = [audio for audio in samples if _long_enough(audio, sample_rate)]
    distance = _distance(_frames(embedded, sample_rate), _frames(references, sample_rate))
    fewest = min(distance.num_frames, distance.num_reference_frames)
    found = {
        "value": distance.value,
        "embedding": embeddings.NAME,
        "dimensions": embeddings.DIMENSIONS,
        "num_clips": len(embedded),
        "num_short_clips": len(samples) - len(embedded),
        "clip_seconds": float(np.mean([len(audio) for audio in embedded])) / sample_rate,
        "num_frames": distance.num_frames,
        "num_reference_frames": distance.num_reference_frames,
        "reliable": fewest >= embeddings.DIMENSIONS,
    }
    try:
        clips, rest = _divided(references, max(map(len, embedded)), len(embedded), sample_rate)
        floor = _distance(_frames(clips, sample_rate), _frames(rest, sample_rate))
    except UserError as error:
        return found, {"fad.floor": str(error)}
    found |= {"floor": floor.value, "floor_num_frames": floor.num_frames}
    return found | {"floor_num_reference_frames": floor.num_reference_frames}, {}


def _divided(
    references: list[np.ndarray], num_samples: int, count: int, sample_rate: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(`count` clips of `num_samples`, evenly spaced over the recordings; everything else)."""
    pieces = [audio[start : start + num_samples] for audio in references for start in range(0, len(audio), num_samples)]
    whole = [index for index, piece in enumerate(pieces) if len(piece) == num_samples]
    if len(whole) <= count:
        raise UserError(
            f"the held-out recordings have {len(whole)} whole clips of {num_samples / sample_rate:.4g} s, and a floor "
            f"needs more than the {count} that are compared with the rest: hold out more music, or sample fewer clips"
        )
    chosen = {whole[int(place)] for place in np.linspace(0, len(whole), count, endpoint=False)}
    return [pieces[i] for i in sorted(chosen)], [piece for i, piece in enumerate(pieces) if i not in chosen]


def _distance(frames: np.ndarray, reference: np.ndarray) -> frechet_distance.FrechetDistance:
    for name, found in (("clips", frames), ("recordings", reference)):
        if len(found) < 2:
            raise UserError(
                f"the {name} give {len(found)} frames of {embeddings.FRAME_SECONDS:g} s, and a covariance needs two: "
                "use more or longer audio"
            )
    return frechet_distance.frechet_distance(frames, reference)


def _frames(audio: list[np.ndarray], sample_rate: int) -> np.ndarray:
    """Embedding frames [N, D] of all that is long enough for one."""
    frames = [embeddings.log_mel_statistics(one, sample_rate) for one in audio if _long_enough(one, sample_rate)]
    return np.concatenate([np.zeros((0, embeddings.DIMENSIONS), np.float32), *frames])


def _long_enough(audio: np.ndarray, sample_rate: int) -> bool:
    return len(audio) >= embeddings.FRAME_SECONDS * sample_rate
