"""A Descript audio codec small enough to compile in a second, of odd and even strides, with weights drawn by NumPy."""

from conftest import SAMPLE_RATE, random_weights

from musicgen_jax import config, kinds
from musicgen_jax.nn import modules
from musicgen_jax.tokenizers.dac import dac_tokenizer

HOP, NUM_CODEBOOKS, NUM_CODES = 30, 3, 16


def model_config() -> config.DACConfig:
    return config.DACConfig(
        sample_rate=SAMPLE_RATE,
        strides=(2, 3, 5),
        encoder_width=4,
        decoder_width=32,
        quantizer=config.QuantizerConfig(
            kind="normalized",
            num_codes=NUM_CODES,
            num_codebooks=NUM_CODEBOOKS,
            codebook_dropout=0.5,
            code_width=12,
            lookup_width=4,
            ema_decay=0.9,
        ),
    )


def weights(model: config.DACConfig) -> tuple[modules.Tree, modules.Tree]:
    """Random (parameters, buffers); every activation bends."""
    params, buffers = random_weights(kinds.KINDS["dac"].functional(config.DACTraining(model=model)))
    _bend(params)
    return params, buffers


def tokenizer() -> dac_tokenizer.DACTokenizer:
    return dac_tokenizer.DACTokenizer(model_config(), *weights(model_config()))


def _bend(tree: modules.Tree) -> None:
    for name, value in tree.items():
        if isinstance(value, dict):
            _bend(value)
        elif name == "alpha":
            tree[name] = 1 + 5 * value
