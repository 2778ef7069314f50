"""Names both ways: examples, the whole of every released table, and Hugging Face's own key sets."""

import pytest

from musicgen_jax.conversion import hugging_face_names, jukebox_prior, jukebox_vqvae

PAIRS = {
    "encoders.0.level_blocks.0.model.2.0.weight": "encoders.0.level_blocks.0.downsample_block.4.weight",
    "encoders.2.level_blocks.1.model.1.1.model.3.model.1.bias": (
        "encoders.2.level_blocks.1.downsample_block.3.resnet_block.3.conv1d_1.bias"
    ),
    "decoders.1.level_blocks.0.model.0.weight": "decoders.1.level_blocks.0.proj_in.weight",
    "decoders.1.level_blocks.0.model.3.0.model.7.model.3.weight": (
        "decoders.1.level_blocks.0.upsample_block.4.resnet_block.7.conv1d_2.weight"
    ),
    "decoders.1.level_blocks.0.model.3.1.bias": "decoders.1.level_blocks.0.upsample_block.5.bias",
    "bottleneck.level_blocks.2.k": "bottleneck.level_blocks.2.codebook",
    "prior.transformer._attn_mods.18.attn.c_enc_kv.w": "prior.transformer._attn_mods.18.attn.c_enc_kv.weight",
    "prior.transformer._attn_mods.3.ln_1.bias": "prior.transformer._attn_mods.3.layer_norm_1.bias",
    "prime_prior.start_token": "encoder.start_token",
    "y_emb.artist_emb.emb.weight": "metadata_embedding.artist_emb.weight",
    "y_emb.relative_pos_emb.emb.weight": "metadata_embedding.relative_pos_emb.emb.weight",
    "conditioner_blocks.0.cond.model.2.0.blocks.5.model.1.weight": (
        "conditioner_blocks.upsampler.upsample_block.2.resnet_block.5.conv1d_1.weight"
    ),
}
TABLES = {"vqvae": jukebox_vqvae.weights(jukebox_vqvae.released().model)}
TABLES |= {name: jukebox_prior.weights(model) for name, model in jukebox_prior.RELEASED.items()}


@pytest.mark.parametrize(("original", "theirs"), PAIRS.items())
def test_examples(original, theirs):
    assert hugging_face_names.hugging_face_name(original) == theirs
    assert hugging_face_names.original_names([theirs]) == {theirs: original}


@pytest.mark.parametrize("model", TABLES)
def test_every_name_of_a_released_model_translates_and_comes_back(model):
    originals = [weight.name for weight in TABLES[model]]
    theirs = [hugging_face_names.hugging_face_name(name) for name in originals]
    assert len(set(originals)) == len(set(theirs)) == len(originals)
    assert list(hugging_face_names.original_names(theirs).values()) == originals
    assert hugging_face_names.are_used(theirs) and not hugging_face_names.are_used(originals)


def test_unknown_names_stay_as_they_are():
    for name in ("encoders.0.nothing", "decoders.0.level_blocks.0.upsample_block.1.resnet_block.0.conv1d_1.weight"):
        assert hugging_face_names.original_names([name]) == {name: name}
    assert hugging_face_names.hugging_face_name("opt.state") == "opt.state"


def small(**changes) -> dict:
    return {
        "hidden_size": 16,
        "n_heads": 2,
        "blocks": 4,
        "n_ctx": 16,
        "music_vocab_size": 8,
        "num_layers": 4,
        "res_conv_width": 8,
        "res_conv_depth": 16,  # not told by a file: as released
        "metadata_dims": [3, 4],
        "timing_dims": 4,
        "lyric_vocab_size": 5,
        "attention_multiplier": 0.5,
        "nb_relevant_lyric_tokens": 0,
        "is_encoder_decoder": False,
        "merged_decoder": False,
        "attention_pattern": "raw_column_previous_row_attention",
    } | changes


HUGGING_FACE_TOPS = {
    "5b": small(merged_decoder=True),
    "5b_lyrics": small(
        merged_decoder=True,
        num_layers=20,  # the first cross attention is in layer 18
        attention_pattern="large_separated_enc_dec_w_lyrics",
        nb_relevant_lyric_tokens=4,
        encoder_config=small(hidden_size=8, num_layers=2),
    ),
    "1b_lyrics": small(
        is_encoder_decoder=True,
        attention_pattern="enc_dec_with_lyrics",
        nb_relevant_lyric_tokens=384,
        lyric_vocab_size=79,
        n_ctx=16,
        music_vocab_size=2048,
    ),
}


@pytest.mark.parity
@pytest.mark.parametrize("top", HUGGING_FACE_TOPS)
def test_the_key_sets_of_hugging_faces_models(top):
    pytest.importorskip("transformers")
    from transformers.models.deprecated.jukebox import JukeboxConfig, JukeboxModel

    vqvae = {"res_conv_width": 2, "embed_dim": 4, "nb_discrete_codes": 8}
    settings = JukeboxConfig(vqvae_config=vqvae, prior_config_list=[HUGGING_FACE_TOPS[top], small(), small()])
    state = JukeboxModel(settings).state_dict()
    for part in ("vqvae", "priors.0", "priors.1", "priors.2"):
        shapes = {name.removeprefix(f"{part}."): value.shape for name, value in state.items() if name.startswith(part)}
        translated = hugging_face_names.original_names(shapes)
        assert all(hugging_face_names.hugging_face_name(original) == name for name, original in translated.items())
        if part == "vqvae":
            table = TABLES["vqvae"]
        else:
            shapes = {translated[name]: tuple(shape) for name, shape in shapes.items()}
            tier = {"priors.0": "top", "priors.1": "middle", "priors.2": "bottom"}[part]
            table = jukebox_prior.weights(jukebox_prior.infer_config(shapes, tier=tier))
        assert {weight.name for weight in table} == set(translated.values())
