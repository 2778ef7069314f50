"""EnCodec's encoder as an embedding (Gui et al. 2024, Adapting Frechet Audio Distance for generative music evaluation).

It is read from the published file, as other embeddings are, and has nothing to do with the tokenizer that is judged.
"""

import pathlib

from flax import nnx

from musicgen_jax.conversion import checkpoint_files, encodec_settings, encodec_weights, weight_table
from musicgen_jax.evaluation.embeddings.tokenizer_encoder import TokenizerEncoder
from musicgen_jax.tokenizers.encodec import encodec, encodec_tokenizer


class EncodecEncoder(TokenizerEncoder):
    """The latents of a published EnCodec of mono audio, before they are quantized: 75 frames a second of 128 numbers at
    24 kHz, 50 at 32 kHz.

    Args:
      path: the published file, Hugging Face's with its config.json beside it, audiocraft's, or the original one.

    Raises:
      NotFoundError: no such file.
      UserError: it holds something else, or the stereo model, whose encoder hears two channels.
    """

    name = "encodec"

    def __init__(self, path: str):
        super().__init__(_read(pathlib.Path(path)))


def _read(path: pathlib.Path) -> encodec_tokenizer.EncodecTokenizer:
    tensors, beside = checkpoint_files.read_wrapped(path, "best_state")
    plain = encodec_weights.plain(tensors)
    settings = encodec_settings.of_file(path, plain, beside)
    encodec_tokenizer.require_stream(settings)
    kept = {name: tensor for name, tensor in plain.items() if not name.endswith((".cluster_size", ".embed_avg"))}
    functional = encodec.functional(settings)
    abstract = {"params": functional.abstract_params, "buffers": functional.abstract_buffers}
    abstract = {name: nnx.to_pure_dict(state) for name, state in abstract.items()}
    tree = weight_table.to_native(encodec_weights.weights(settings, averages=False), kept, abstract)
    encodec_weights.add_averages(tree, settings)
    return encodec_tokenizer.EncodecTokenizer(settings, tree["params"], tree["buffers"])
