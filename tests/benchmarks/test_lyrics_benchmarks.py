"""Whether words are followed: refused flags, and the classifier of vowels."""

import numpy as np
import pytest

from benchmarks import vowel_classifier


@pytest.mark.parametrize("name", ["lyrics_followed", "lyrics_to_melody"])
def test_a_bad_flag_is_one_line(benchmark, tmp_path, name):
    done = benchmark(name, f"--out={tmp_path}/out", "--steps=0")
    assert done.returncode == 1 and done.stdout == "" and "--steps=0: must be at least 1" in done.stderr


def test_the_classifier_tells_spectra_apart():
    """Bands of noise stand for vowels."""
    rng = np.random.default_rng(0)

    def syllable(vowel: int) -> vowel_classifier.Syllable:
        spectrum = np.fft.rfft(rng.standard_normal(8000))
        spectrum *= np.exp(-0.5 * ((np.arange(len(spectrum)) - 600 - 400 * vowel) / 200) ** 2)
        return vowel_classifier.Syllable(np.fft.irfft(spectrum), 16000, 0.1, 0.4)

    vowels = "".join(rng.choice(list("aeiou"), 60))
    examples = [syllable("aeiou".index(vowel)) for vowel in vowels]
    classifier = vowel_classifier.fit(examples[:40], vowels[:40])
    assert classifier.accuracy(examples[40:], vowels[40:]) > 0.9
    assert classifier.accuracy(examples[40:], vowels[41:] + vowels[40]) < 0.6
