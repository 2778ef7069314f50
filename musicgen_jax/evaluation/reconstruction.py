"""How close reconstructed waveforms are to their recording: what is measured of a track, and of a split."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from musicgen_jax.data import loudness
from musicgen_jax.evaluation import bootstrap, fundamental_frequency, spectral_distances
from musicgen_jax.runtime.errors import UserError

# Ratios beyond +-120 dB say nothing: float32 spectra do not resolve them, and JSON knows no infinity.
LIMIT_DB = 120.0
# -100 dBFS RMS, below one step of 16 bits: such a reference is silence, and a ratio to it means nothing.
SILENCE_RMS = 1e-5
RELATIVE_GATE = -20.0  # LU below the mean of what sounds: quieter blocks do not count (EBU Tech 3342)
MIN_VOICED_FRAMES = 10  # 0.2 s: fewer are no melody that an error could be measured of
# What `summarize` has of each tier -> why it may be absent.
MEASURES = {
    "spectral_convergence_db": "all recordings are silent: nothing compares with that",
    "multiscale_spectral_mse": "no recording could be compared",
    "multiscale_mel_db": "no recording could be compared",
    "log_spectral_distance_db": "no recording could be compared",
    "si_sdr_db": "all recordings are silent: nothing compares with that",
    "f0_error_semitones": "no recording has 0.2 s in which both it and its reconstruction have a pitch",
    "f0_voicing_recall": "no recording has 0.2 s with a pitch",
    "loudness_error_db": (
        f"no recording has a block of 0.4 s above {loudness.ABSOLUTE_GATE:g} LUFS at "
        f"{loudness.MIN_SAMPLE_RATE} Hz or more"
    ),
}


def compare(reference: np.ndarray, others: Sequence[np.ndarray], sample_rate: int) -> list[dict[str, float]]:
    """The measures of several reconstructions of one clip; each holds what `spectral_distances.measure` does, and more.

    Args:
      reference: float [S], S > 0.
      others: N >= 1 of the same length.
      sample_rate: Hz.

    Returns:
      Of each:
        spectral_convergence, si_sdr_db: of a reference that is not silent.
        multiscale_spectral_mse, multiscale_mel_db, log_spectral_distance_db.
        f0_error_semitones: mean |difference| of the fundamental frequency where both have one, in semitones, where that
          is 0.2 s at least; f0_voicing_recall: share of the reference's frames with a pitch in which the reconstruction
          has one too (Salamon et al. 2014), where there are as many.
        loudness_error_db: mean |difference| of the momentary loudness (ITU-R BS.1770, blocks of 0.4 s) over the blocks
          in which the reference is above -70 LUFS, and no more than 20 LU below the mean of these; a reconstruction
          below -70 LUFS counts as that.
          Absent where there is no such block, or the rate is below 8 kHz.

    Raises:
      UserError: a shape differs or is not [S] with S > 0, or a sample is not finite.
    """
    for other in others:
        check_pair(reference, other)
    spectral = spectral_distances.measure(np.asarray(reference, np.float32), np.stack(others), sample_rate)
    pitch = fundamental_frequency.track(reference, sample_rate)
    loud = _momentary(reference, sample_rate)
    found = []
    for index, other in enumerate(others):
        measures = {name: float(values[index]) for name, values in spectral.items()}
        if np.std(reference, dtype=np.float64) >= SILENCE_RMS:
            measures["si_sdr_db"] = si_sdr_db(reference, other)
        else:
            del measures["spectral_convergence"]
        measures |= _pitch_errors(pitch, fundamental_frequency.track(other, sample_rate))
        found.append(measures | _loudness_error(loud, _momentary(other, sample_rate)))
    return found


def si_sdr_db(reference: np.ndarray, reconstruction: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio in dB, after both means are removed. Higher is better.

    10 log10(|a s|^2 / |a s - s^|^2) with a = <s^, s> / |s|^2 (Le Roux et al. 2019, "SDR - half-baked or well done?",
    eq. 2-3), limited to +-120 dB. A silent or orthogonal reconstruction gives -120, a rescaled copy +120. It compares
    waveforms sample by sample, so a shift or a change of phase costs much even where the ear hears none.

    Args:
      reference: float [S].
      reconstruction: float [S], of the same length.

    Raises:
      UserError: the shapes differ, are not [S] with S > 0, or a sample is not finite.
    """
    check_pair(reference, reconstruction)
    source = np.asarray(reference, np.float64) - np.mean(reference, dtype=np.float64)
    estimate = np.asarray(reconstruction, np.float64) - np.mean(reconstruction, dtype=np.float64)
    energy = source @ source
    target = (estimate @ source / energy) * source if energy > 0 else np.zeros_like(source)
    error = target - estimate
    signal, distortion = target @ target, error @ error
    if signal == 0:
        return -LIMIT_DB
    if distortion == 0:
        return LIMIT_DB
    return float(np.clip(10 * np.log10(signal / distortion), -LIMIT_DB, LIMIT_DB))


def summarize(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The measures over the tracks of a split; every track counts once, whatever its length.

    Args:
      rows: of each track, "track" and a result of `compare`.

    Returns:
      Each of MEASURES that a track has: the mean over tracks. spectral_convergence_db is 20 log10 of the *mean ratio*
      (not the mean of the tracks' decibels), at least -120. Beside them num_clips, num_silent_clips (their reference is
      below -100 dBFS RMS; they count in no ratio), `intervals` and `tracks`, see `bootstrap.of_tracks`.
    """
    found = bootstrap.of_tracks(rows)
    if ratio := found["intervals"].pop("spectral_convergence", None):
        in_decibels = {
            name: None if ratio[name] is None else _decibels(ratio[name]) for name in ("mean", "low", "high")
        }
        found["intervals"]["spectral_convergence_db"] = ratio | in_decibels
    for row in found["tracks"]:
        if "spectral_convergence" in row:
            row["spectral_convergence_db"] = _decibels(row.pop("spectral_convergence"))
    means = {name: found["intervals"][name]["mean"] for name in MEASURES if name in found["intervals"]}
    silent = sum("si_sdr_db" not in row for row in rows)
    return means | {"num_clips": len(rows), "num_silent_clips": silent} | found


def check_pair(reference: np.ndarray, reconstruction: np.ndarray) -> None:
    """Raises UserError unless both are float [S] with the same S > 0, and finite."""
    shapes = np.shape(reference), np.shape(reconstruction)
    if shapes[0] != shapes[1] or len(shapes[0]) != 1 or shapes[0][0] == 0:
        raise UserError(
            f"reference of shape {shapes[0]} and reconstruction of shape {shapes[1]}: both must be one mono waveform "
            "[S] of the same length; cut or pad the reconstruction to its reference"
        )
    for name, audio in (("reference", reference), ("reconstruction", reconstruction)):
        bad = int(np.size(audio) - np.count_nonzero(np.isfinite(audio)))
        if bad:
            raise UserError(f"the {name} has {bad} samples that are not finite: nothing can be measured on them")


def _decibels(ratio: float) -> float:
    return 20 * float(np.log10(max(ratio, 10 ** (-LIMIT_DB / 20))))


def _pitch_errors(reference: fundamental_frequency.Pitch, other: fundamental_frequency.Pitch) -> dict[str, float]:
    voiced, both = np.count_nonzero(reference.voiced), reference.voiced & other.voiced
    found = {}
    if voiced >= MIN_VOICED_FRAMES:
        found["f0_voicing_recall"] = float(np.count_nonzero(both) / voiced)
    if np.count_nonzero(both) >= MIN_VOICED_FRAMES:
        found["f0_error_semitones"] = float(np.mean(np.abs(other.midi - reference.midi)[both]))
    return found


def _momentary(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """LUFS of blocks of 0.4 s, those below the absolute gate at it; none at a rate that the filters do not take."""
    if sample_rate < loudness.MIN_SAMPLE_RATE:
        return np.zeros(0)
    meter = loudness.Loudness(sample_rate)
    meter.add(np.asarray(audio))
    return np.maximum(meter.momentary(), loudness.ABSOLUTE_GATE)


def _loudness_error(reference: np.ndarray, other: np.ndarray) -> dict[str, float]:
    sounding = reference[reference > loudness.ABSOLUTE_GATE]
    if not sounding.size:
        return {}
    heard = reference > max(loudness.ABSOLUTE_GATE, 10 * np.log10(np.mean(10 ** (sounding / 10))) + RELATIVE_GATE)
    return {"loudness_error_db": float(np.mean(np.abs(other - reference)[heard]))}
