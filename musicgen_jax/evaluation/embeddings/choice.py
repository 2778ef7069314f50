"""Which embeddings there are, and how one asks for them: NAME, or NAME:PATH where the weights lie there."""

from collections.abc import Callable, Sequence

from musicgen_jax.config import require
from musicgen_jax.evaluation.embeddings.embedding import Embedding
from musicgen_jax.evaluation.embeddings.encodec import EncodecEncoder
from musicgen_jax.evaluation.embeddings.log_mel_statistics import LogMelStatistics
from musicgen_jax.evaluation.embeddings.musicnn import MusicNN
from musicgen_jax.evaluation.embeddings.tokenizer_encoder import TokenizerEncoder
from musicgen_jax.evaluation.embeddings.vggish import VGGish
from musicgen_jax.runtime import files
from musicgen_jax.tokenizers.tokenizer import Tokenizer

DEFAULT = "log-mel-statistics"
WITHOUT_WEIGHTS: dict[str, Callable[[Tokenizer], Embedding]] = {
    DEFAULT: lambda tokenizer: LogMelStatistics(),
    TokenizerEncoder.name: TokenizerEncoder,
}
OF_WEIGHTS: dict[str, Callable[[str], Embedding]] = {"vggish": VGGish, "musicnn": MusicNN, "encodec": EncodecEncoder}


def load(choices: Sequence[str], tokenizer: Tokenizer) -> list[Embedding]:
    """The embeddings that are asked for, in order.

    Args:
      choices: NAME or NAME:PATH each.
      tokenizer: whose encoder is meant by "tokenizer-encoder".

    Raises:
      NotFoundError: a path is not there.
      UserError: none is asked for, or one twice; a name is not known, lacks its path or has one; the weights are
        damaged, or of another network.
    """
    require(len(choices) > 0, "`embeddings` names none: leave it out for log-mel-statistics")
    found = [_load(choice, tokenizer) for choice in choices]
    for index, one in enumerate(found):
        twice = one.name in [other.name for other in found[:index]]
        require(not twice, f"`embeddings`={','.join(choices)}: {one.name} is there twice; name each embedding once")
    return found


def _load(choice: str, tokenizer: Tokenizer) -> Embedding:
    name, colon, path = choice.partition(":")
    known = [*WITHOUT_WEIGHTS, *(f"{one}:PATH" for one in OF_WEIGHTS)]
    require(name in WITHOUT_WEIGHTS or name in OF_WEIGHTS, f"`embeddings`={choice}: choose from {', '.join(known)}")
    if name in WITHOUT_WEIGHTS:
        require(not colon, f"`embeddings`={choice}: {name} has no weights in a file; write {name}")
        return WITHOUT_WEIGHTS[name](tokenizer)
    require(bool(path), f"`embeddings`={choice}: say where its weights are, {name}:PATH")
    return OF_WEIGHTS[name](str(files.local_path(path, "embeddings")))
