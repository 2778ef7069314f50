"""Words as the published priors of Jukebox know them: artists, genres and lyrics -> numbers.

There are two generations of labels. In the older one ("v2", of the upsamplers and the 5 B priors) a genre is several
words, each with a number; in the newer one ("v3", of the 1 B prior) it is one name. Which names there are stands in
artists.json and genres.json, which Hugging Face publishes beside the weights: {name: number}, those of v2 end in .v2.
"""

import dataclasses
import pathlib
import re
import unicodedata

import numpy as np

from musicgen_jax import config
from musicgen_jax.runtime import files, records
from musicgen_jax.runtime.errors import UserError

FILES = {"artist": "artists.json", "genre": "genres.json"}
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# Character n of the alphabet has the number n + 1; 0 fills up, and stands for what is not in it.
ALPHABETS = {
    79: f"{_LETTERS}{_LETTERS.lower()}0123456789.,:;!?-'\"()[] \t\n",
    80: f"{_LETTERS}{_LETTERS.lower()}0123456789.,:;!?-+'\"()[] \t\n",
}


def characters(lyrics: str, vocabulary: int) -> np.ndarray:
    """Lyrics as numbers, int32 [N]: accents are taken off, and what the alphabet does not have is left out.

    Args:
      lyrics: any text.
      vocabulary: characters there are, 0 included.

    Raises:
      UserError: there is no alphabet of this size.
    """
    known = ", ".join(map(str, ALPHABETS))
    config.require(vocabulary in ALPHABETS, f"model.lyric_vocabulary={vocabulary}: must be one of {known} to read text")
    plain = "".join(one for one in unicodedata.normalize("NFD", lyrics) if unicodedata.category(one) != "Mn")
    numbers = {character: number for number, character in enumerate(ALPHABETS[vocabulary], 1)}
    return np.array([numbers[one] for one in plain.replace("\\", "\n") if one in numbers], np.int32)


def window(lyrics: np.ndarray, size: int, total: int, offset: int, length: int) -> np.ndarray:
    """The characters that are sung around the middle of a window, if all are spread evenly over the track.

    Args:
      lyrics: int32 [N], those of the whole track.
      size: characters wanted.
      total, offset, length: samples of the track, of the window's start in it and of the window.

    Returns:
      int32 [size]; shorter lyrics whole, behind zeros.
    """
    if len(lyrics) < size:
        return np.pad(lyrics, (size - len(lyrics), 0))
    middle = int(len(lyrics) * (offset + length / 2) / total)
    first = min(max(middle - size // 2, 0), len(lyrics) - size)
    return lyrics[first : first + size]


@dataclasses.dataclass(frozen=True)
class Names:
    """Names of artists and genres -> numbers, as far as they are known; a number can always be given as such.

    Attributes:
      numbers: "artist" and "genre" -> {name: number}; empty where the file is not there.
      sizes: of the two tables of the prior.
      many: whether a genre is several words.
    """

    numbers: dict[str, dict[str, int]]
    sizes: dict[str, int]
    many: bool

    def artist(self, name: str) -> int:
        """Number of an artist; 0 for "", unknown. Raises UserError for one that there is not."""
        return self._number("artist", name) if name else 0

    def genres(self, name: str, places: int) -> np.ndarray:
        """Numbers of the words of a genre, int32 [places], -1 in empty ones; that of unknown for "".

        Raises:
          UserError: a word that there is not, or more words than places.
        """
        words = _normalized(name).split("_") if self.many else [name]
        config.require(len(words) <= places, f"`genre`={name!r}: {len(words)} words, and the prior takes {places}")
        numbers = [self._number("genre", word) if word else 0 for word in words]
        return np.array(numbers + [-1] * (places - len(numbers)), np.int32)

    def _number(self, label: str, name: str) -> int:
        known, size = self.numbers.get(label, {}), self.sizes[label]
        key = f"{_normalized(name)}.v2" if self.many else name.lower()
        is_number = name.isascii() and name.isdecimal() and len(name) < 10  # unless an artist is called so
        number = known.get(key, int(name) if is_number else -1)
        if 0 <= number < size:
            return number
        near = records.nearest(key, [one for one in known if one.endswith(".v2") == self.many])
        rule = f"no such {label}{near}" if known else f"{FILES[label]} is not there to look it up in"
        raise UserError(f"`{label}`={name!r}: {rule}; or pass a number from 0 to {size - 1}")


def read_names(workdir: str, model: config.JukeboxPriorConfig) -> Names:
    """The names of a converted prior: from its workdir, or the folder that this lies in.

    Raises:
      UserError: a file is damaged.
    """
    numbers = {}
    for label, name in FILES.items():
        places = [pathlib.Path(workdir) / name, pathlib.Path(workdir).parent / name]
        path = next((path for path in places if path.is_file()), None)
        if path is not None:
            numbers[label] = records.check(dict[str, int], files.read_json(path), str(path))
    return dataclasses.replace(no_names(model), numbers=numbers)


def no_names(model: config.JukeboxPriorConfig) -> Names:
    """Numbers alone, for a prior of which no names are known."""
    return Names({}, {"artist": model.num_artists, "genre": model.num_genres}, many=model.max_genres > 1)


def _normalized(name: str) -> str:
    """As v2 writes names: lower case, one underscore for whatever is neither a letter, a digit nor a point."""
    return re.sub(r"[^a-z0-9.]+", "_", name.lower()).strip("_")
