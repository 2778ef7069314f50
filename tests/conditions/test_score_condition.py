"""The planes of a score against a slow oracle, and as a window has them; what is told where there is none."""

import functools

import jax
import numpy as np
import pytest
import tiny_condition
import tiny_priors

from musicgen_jax import config
from musicgen_jax.conditions import score
from musicgen_jax.sharding import meshes

RATE, FRAMES, AHEAD = 125.0, 96, 0.1  # frames a second, of a window; seconds


def random_notes(seed: int, num: int, seconds: float, pitches: tuple[int, int] = (0, 128)) -> np.ndarray:
    """float32 [num, 5], some of them longer than the window, some shorter than a frame."""
    rng = np.random.default_rng(seed)
    onset, duration = rng.uniform(-0.3, seconds + 0.3, num), rng.exponential(0.1, num)
    columns = rng.integers(*pitches, num), onset, duration, rng.integers(1, 128, num), rng.integers(4, size=num)
    return np.stack(columns, axis=1).astype(np.float32)


def oracle(notes: np.ndarray, num_frames: int, rate: float, ahead: float) -> np.ndarray:
    """float64 [4, T, 128], frame by frame and note by note."""
    found = np.zeros((4, num_frames, 128))
    for t in range(num_frames):
        centre = (t + 0.5) / rate
        for p in range(128):
            mine = [(o, o + d) for pitch, o, d, _, _ in notes.astype(np.float64) if round(pitch) == p and d > 0]
            # A frame of which a note has no more than a hundredth is none of its own.
            firsts = [np.floor(o * rate + 0.01) for o, _ in mine]
            lasts = [max(np.ceil(e * rate - 0.01) - 1, first) for (_, e), first in zip(mine, firsts, strict=True)]
            frames = list(zip(firsts, lasts, strict=True))
            known = [(note, frame) for note, frame in zip(mine, frames, strict=True) if frame[1] >= 0]
            if any(first <= t <= last for _, (first, last) in known):
                age = centre - max(o for (o, _), (first, _) in known if first <= t)
                left = min(e for (_, e), (_, last) in known if last >= t) - centre
                found[:3, t, p] = 1, np.exp(-max(age, 0) / 0.06), np.exp(-max(left, 0) / 0.06)
            waits = [o - centre for (o, _), (first, _) in known if first > t]
            found[3, t, p] = np.clip(1 - min(waits, default=np.inf) / ahead, 0, 1)
    return found


@functools.partial(jax.jit, static_argnames=("num_frames", "ahead"))
def planes(notes: np.ndarray, num_frames: int = FRAMES, ahead: float = AHEAD) -> jax.Array:
    """[B, T, planes, 128]"""
    return score.planes(notes, num_frames, RATE, ahead).reshape(len(notes), num_frames, -1, 128)


@pytest.mark.long
def test_planes_equal_the_oracle():
    seconds = FRAMES / RATE
    # Few pitches: notes of one pitch meet and overlap.
    rows = np.stack([random_notes(0, 40, seconds), random_notes(1, 40, seconds, (60, 64))])
    found = np.asarray(planes(rows))
    for notes, of_row in zip(rows, found, strict=True):
        np.testing.assert_allclose(np.moveaxis(of_row, 1, 0), oracle(notes, FRAMES, RATE, AHEAD), atol=2e-4)
    assert 0.01 < found[:, :, 0].mean() < 0.5
    np.testing.assert_array_equal(planes(rows, ahead=0.0), found[:, :, :3])


def test_a_note_by_hand():
    """From the middle of frame 2 to that of frame 5."""
    found = np.asarray(planes(np.float32([[[60, 2.5 / RATE, 3 / RATE, 100, 0]]])))[0, :, :, 60]
    np.testing.assert_array_equal(found[:8, 0], [0, 0, 1, 1, 1, 1, 0, 0])
    frame = np.exp(-1 / RATE / 0.06)
    np.testing.assert_allclose(found[2:6, 1], frame ** np.arange(4), rtol=1e-4)
    np.testing.assert_allclose(found[2:6, 2], frame ** np.arange(3, -1, -1), rtol=1e-4)
    np.testing.assert_allclose(found[:4, 3], [1 - 2 / RATE / AHEAD, 1 - 1 / RATE / AHEAD, 0, 0], atol=1e-4)


def test_every_note_has_a_frame_and_padding_has_none():
    short = np.float32([[[60, 0.1, 1e-4, 100, 0], [61, 0.1, 0, 100, 0], [62, -1, 0.5, 100, 0], [127.4, 0, 1, 9, 0]]])
    sounding = np.asarray(planes(short))[0, :, 0]
    assert sounding.sum(axis=0)[[60, 61, 62, 127]].tolist() == [1, 0, 0, FRAMES]
    outside = np.float32([[[-1, 0, 1, 100, 0], [128, 0, 1, 100, 0]]])
    assert not np.asarray(planes(outside)).any()


@pytest.mark.parametrize("start", [1, 40])
def test_the_planes_of_a_window_are_those_of_the_whole(start):
    """Of a score whose pitches are one string each."""
    notes = np.concatenate([np.sort(random_notes(pitch, 6, 2 * FRAMES / RATE), axis=0) for pitch in range(50, 70)])
    notes[:, 0] = np.repeat(np.arange(50, 70), 6)
    room = np.append(np.diff(notes[:, 1]), 1)
    notes[:, 2] = np.where(room > 0, np.minimum(notes[:, 2], room), notes[:, 2])
    whole = np.asarray(planes(notes[None], num_frames=2 * FRAMES))[0, start : start + FRAMES]
    first, last = start / RATE, (start + FRAMES) / RATE + AHEAD
    inside = (notes[:, 1] < last) & (notes[:, 1] + notes[:, 2] > first)
    assert 0 < inside.sum() < len(notes)
    window = notes[inside] - np.float32([0, first, 0, 0, 0])
    np.testing.assert_allclose(planes(window[None])[0], whole, atol=1e-3)


def test_memory_of_a_long_context():
    """At context 8192 some planes of frames x pitches; with a row a note it would be 2 GB."""
    shape = jax.ShapeDtypeStruct((1, 512, 5), np.float32)
    compiled = planes.lower(shape, num_frames=8192).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 16 * 8192 * 128 * 4


def test_devices_that_share_the_batch_share_the_work():
    mesh = meshes.make_mesh(config.MeshConfig(), jax.devices())
    notes = np.stack([random_notes(seed, 20, FRAMES / RATE) for seed in range(8)])
    shared = jax.device_put(notes, meshes.batch_sharding(mesh))
    compiled = planes.lower(shared).compile()
    assert not any(word in compiled.as_text() for word in ("all-gather", "all-reduce", "all-to-all"))
    np.testing.assert_array_equal(compiled(shared), planes(notes))


@pytest.fixture(scope="module")
def built():
    model = tiny_priors.model_config(score=True, score_dropout=0.1)
    return tiny_condition.build(lambda rngs: score.Score(model, dtype=np.float32, rngs=rngs))


@pytest.mark.long
def test_an_unknown_score_is_a_trained_vector_and_no_rest(built):
    tables, added = built
    notes = tiny_priors.notes(np.random.default_rng(0), 3, 1.2)
    scored = np.array([True, False, True])
    found = added(np.array([False, False, True]), notes=notes, scored=scored)
    null = np.tile(tables["no_score"], (12, 1))
    np.testing.assert_array_equal(found[1], null)
    np.testing.assert_array_equal(found[2], null)
    of_planes = np.asarray(score.planes(notes, 12, 10.0))
    expected = of_planes[0] @ tables["project"]["kernel"] + tables["project"]["bias"]
    np.testing.assert_allclose(found[0], expected, atol=1e-3)
    rest = added(notes=np.zeros((1, 1, 5), np.float32), scored=np.array([True]))
    assert np.abs(rest[0] - null).max() > 0.1
