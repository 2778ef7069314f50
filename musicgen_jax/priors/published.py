"""A converted prior of Jukebox as sampling and evaluation take it."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from musicgen_jax import config
from musicgen_jax.codes.layout import Layout, Stream
from musicgen_jax.data import lyrics
from musicgen_jax.priors import jukebox_batch, jukebox_labels, trained
from musicgen_jax.runtime.errors import UserError


@dataclasses.dataclass(frozen=True)
class PublishedPrior(trained.TrainedPrior):
    """As `TrainedPrior`, in the words and times of Jukebox.

    Attributes:
      names: of artists and genres.
    """

    config: config.JukeboxPriorConfig
    names: jukebox_labels.Names = dataclasses.field(kw_only=True)

    def require_tokenizer(self, layout: Layout) -> None:
        """Raises UserError unless the tokenizer has such codes: the published files do not say more of theirs."""
        model = self.config
        wanted = Stream(model.tier, model.hop_length, 1, model.num_codes, model.above)
        config.require(
            layout.sample_rate == model.sample_rate and wanted in layout.streams,
            f"`{model.tier}`: this published prior is of codes that the tokenizer does not make ({model.num_codes} "
            f"codes of {model.hop_length} samples at {model.sample_rate} Hz): pass the converted VQ-VAE as `vqvae`",
        )

    @property
    def vocabularies(self) -> Mapping[str, tuple[str, ...]]:
        """Names in genres.json and artists.json, if these are there."""
        return {name: tuple(self.names.numbers.get(name, {})) for name in self.config.labels}

    @property
    def hears_lyrics(self) -> bool:
        """Whether it reads lyrics: the top priors of the releases with "lyrics" in their names do."""
        return self.config.lyrics != "none"

    @property
    def needs_lyrics(self) -> bool:
        """Never: its songs may be instrumental."""
        return False

    def require_known(self, words: trained.Words) -> None:
        """Raises UserError for a name, or a number, that is not in its vocabulary."""
        rule = "published priors are told genre and artist alone"
        for name, value in words.labels.items():
            config.require(name in self.config.labels or not value, f"`labels`={name}:{value}: {rule}")
        self.names.artist(words.labels.get("artist", ""))
        self.names.genres(words.labels.get("genre", ""), self.config.max_genres)

    def foreign(self, words: trained.Words) -> tuple[str, ...]:
        """See `TrainedPrior.foreign`: of an upsampler, since the top priors are of two generations of vocabularies."""
        if not self.config.upsampling:
            return ()
        return tuple(name for name, value in words.labels.items() if not self._knows(trained.Words({name: value})))

    def _knows(self, words: trained.Words) -> bool:
        try:
            self.require_known(words)
        except UserError:
            return False
        return True

    def with_names(self, workdir: str) -> "PublishedPrior":
        """The prior with the names of artists and genres that lie in its folder, or beside it."""
        return dataclasses.replace(self, names=jukebox_labels.read_names(workdir, self.config))

    def require_told(self, words: trained.Words, total_seconds: float) -> None:
        """See `TrainedPrior.require_told`; lengths beyond those that it was trained with cannot be told."""
        super().require_told(words, total_seconds)
        if self.hears_lyrics:
            jukebox_labels.characters(lyrics.words(words.lyrics), self.config.lyric_vocabulary)
        low, high = self.config.min_seconds, self.config.max_seconds
        config.require(
            self.config.upsampling > 0 or low <= total_seconds < high,
            f"`total_seconds`={total_seconds:g}: the published {self.config.tier} prior is told lengths from {low:g} "
            f"to {high:g} seconds",
        )

    def told(self, batch: Mapping[str, np.ndarray], words: Sequence[trained.Words]) -> dict[str, np.ndarray]:
        """See `TrainedPrior.told`; raises UserError, as `jukebox_batch.check`, for what has no row in a table."""
        settings, hop = self.config, self.config.hop_length
        found = {name: batch[name] for name in ("codes", "above") if name in batch}
        words = [one.without(self.foreign(one)) for one in words]
        found["artist"] = np.array([self.names.artist(one.labels.get("artist", "")) for one in words], np.int32)
        genres = [self.names.genres(one.labels.get("genre", ""), settings.max_genres) for one in words]
        found["genres"] = np.stack(genres)
        times = {"total": batch["length"] * hop, "offset": batch["start"] * hop}
        times["length"] = np.full(len(words), settings.context * hop)
        if not settings.upsampling:
            # The last window may reach beyond the end of a track, but never beyond the longest that there can be.
            shortest, longest = (round(x * settings.sample_rate) for x in (settings.min_seconds, settings.max_seconds))
            times["total"] = np.clip(times["total"], shortest, longest - 1)  # whole codes may be a little more or less
            times["offset"] = np.minimum(times["offset"], longest - times["length"])
            found |= {name: value.astype(np.int32) for name, value in times.items()}
        if self.hears_lyrics:
            found["lyrics"] = np.stack(
                [
                    jukebox_labels.window(
                        jukebox_labels.characters(lyrics.words(one.lyrics), settings.lyric_vocabulary),
                        settings.lyric_tokens,
                        *(int(times[name][row]) for name in ("total", "offset", "length")),
                    )
                    for row, one in enumerate(words)
                ]
            )
        jukebox_batch.check(settings, found)
        return found

    def judged(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See `TrainedPrior.judged`: without words, and with a length of the track that it can be told."""
        rate = self.config.codes_per_second
        least, most = np.ceil(self.config.min_seconds * rate), np.ceil(self.config.max_seconds * rate) - 1
        length = np.clip(batch["length"], least, most).astype(np.int32)
        start = np.minimum(batch["start"], length - 1)
        return self.told({**batch, "length": length, "start": start}, [trained.Words()] * len(length))
