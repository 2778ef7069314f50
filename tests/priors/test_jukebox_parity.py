"""All five published priors against transformers' port, at reduced width, with every kind of layer."""

import jukebox_cascade
import jukebox_models
import numpy as np
import pytest
from tiny_layouts import TIERS

from musicgen_jax import config
from musicgen_jax.conversion import hugging_face_names

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
jukebox_port = pytest.importorskip("transformers.models.deprecated.jukebox.modeling_jukebox")
jukebox_settings = pytest.importorskip("transformers.models.deprecated.jukebox.configuration_jukebox")

ORDERS = {
    "factored": "raw_column_previous_row_attention",
    "factored_cross": "large_separated_enc_dec_w_lyrics",
    "factored_prime": "enc_dec_with_lyrics",
}
LAYERS = jukebox_models.LAYERS | {"5b_lyrics": 29, "1b_lyrics": 48}


def transformer_settings(transformer: config.JukeboxTransformerConfig) -> dict:
    return {
        "num_layers": transformer.num_layers,
        "hidden_size": transformer.width,
        "n_heads": transformer.num_heads,
        "attention_multiplier": transformer.attention_width / transformer.width,
        "mlp_multiplier": transformer.mlp_width / transformer.width,
        "blocks": transformer.num_rows,
        "attention_pattern": ORDERS[transformer.layers],
        "mask": True,
    }


def their_config(model: config.JukeboxPriorConfig):
    encoder = transformer_settings(model.lyric_encoder) | {"nb_relevant_lyric_tokens": model.lyric_tokens}
    return jukebox_settings.JukeboxPriorConfig(
        level=TIERS.index(model.tier),
        n_ctx=model.context,
        music_vocab_size=model.num_codes,
        sampling_rate=model.sample_rate,
        metadata_dims=[model.num_genres, model.num_artists],
        max_nb_genres=model.max_genres,
        timing_dims=model.timing_bins,
        min_duration=model.min_seconds,
        max_duration=model.max_seconds,
        is_encoder_decoder=model.lyrics == "prefix",
        nb_relevant_lyric_tokens=model.lyric_tokens,
        lyric_vocab_size=model.lyric_vocabulary,
        merged_decoder=model.merged,
        conv_res_scale=model.scaled_residuals,
        res_conv_width=model.conditioner.width,
        res_conv_depth=model.conditioner.depth,
        res_dilation_growth_rate=model.conditioner.dilation_growth,
        res_dilation_cycle=model.conditioner.dilation_cycle,
        encoder_config=encoder if model.lyrics == "encoder" else None,
        **transformer_settings(model.transformer),
    )


def their_prior(model: jukebox_models.Model):
    prior = jukebox_port.JukeboxPrior(their_config(model.config)).eval()
    renamed = {hugging_face_names.hugging_face_name(name): array for name, array in model.published.items()}
    prior.load_state_dict({name: torch.from_numpy(array) for name, array in renamed.items()}, strict=True)
    return prior


def their_metadata(batch: dict[str, np.ndarray]):
    scalars = [batch[name][:, None] for name in ("total", "offset", "length", "artist")]
    lyrics = [batch["lyrics"]] if "lyrics" in batch else []
    return torch.from_numpy(np.concatenate([*scalars, batch["genres"], *lyrics], axis=1).astype(np.int64))


@torch.no_grad()
def their_logits(prior, batch: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
    """(logits of all tokens, logits of the lyric encoder's characters)."""
    above = [torch.from_numpy(batch["above"][..., 0].astype(np.int64))] * 2 if "above" in batch else []
    codes = torch.from_numpy(batch["codes"][..., 0].astype(np.int64))
    audio, metadata, lyrics = prior.get_cond(above, their_metadata(batch))
    encoded, characters = None, None
    if prior.is_encoder_decoder:
        codes, audio = prior.prior_preprocess([lyrics, codes], [None, audio])
    elif prior.lyric_conditioning:
        encoded = prior.get_encoder_states(lyrics)
        characters = prior.encoder.lm_head(encoded).numpy()
    _, logits = prior.prior(codes, audio, metadata, encoded, get_preds=True)
    return logits.numpy(), characters


@pytest.mark.parametrize("kind", jukebox_models.KINDS)
def test_logits_agree(kind):
    model = jukebox_models.cached(kind, LAYERS[kind])
    batch = jukebox_models.batch_of(model.config)
    expected, _ = their_logits(their_prior(model), batch)
    assert expected.std() > 0.5
    np.testing.assert_allclose(model.logits(batch), expected, atol=1e-4)


def test_lyric_encoder_agrees():
    model = jukebox_models.cached("5b_lyrics", LAYERS["5b_lyrics"])
    batch = jukebox_models.batch_of(model.config)
    _, expected = their_logits(their_prior(model), batch)
    ours = model.run(lambda prior, batch: (encoder := prior.conditions["lyrics"]).predict(encoder(batch).memory), batch)
    np.testing.assert_allclose(ours, expected, atol=1e-4)


def golden() -> dict[str, np.ndarray]:
    """Logits of the models that the fast suite runs, at some of the positions."""
    models = {kind: jukebox_models.cached(kind) for kind in jukebox_models.KINDS}
    return {
        kind: their_logits(their_prior(model), jukebox_models.batch_of(model.config))[0][:, jukebox_models.GOLDEN]
        for kind, model in models.items()
    }


def test_golden_file_is_what_the_port_computes():
    stored, computed = np.load(jukebox_models.GOLDEN_FILE), golden()
    assert sorted(stored) == sorted(computed)
    for kind, logits in computed.items():
        np.testing.assert_allclose(stored[kind], logits, atol=1e-5)


@pytest.mark.parametrize("kind", jukebox_cascade.KINDS)
def test_golden_codes_are_what_the_port_samples(kind):
    """So `test_jukebox_cascade.py` compares with the port itself."""
    stored = np.load(jukebox_cascade.GOLDEN_FILE)
    for tier, (codes, leads) in jukebox_cascade.port_codes(kind).items():
        np.testing.assert_array_equal(codes, stored[f"{kind}/{tier}"])
        np.testing.assert_allclose(leads, stored[f"{kind}/{tier}/leads"], atol=1e-4)


if __name__ == "__main__":  # writes the golden file anew
    np.savez_compressed(jukebox_models.GOLDEN_FILE, **golden())
