"""MusicGen against transformers: logits and greedy generation, random weights, published sizes.

`python tests/priors/test_musicgen_parity.py` writes the golden file that `test_musicgen.py` reads without torch.
"""

import pathlib
import sys

import jax
import numpy as np
import pytest

sys.path.append(str(pathlib.Path(__file__).parents[1]))

import tiny_musicgen

from musicgen_jax import config
from musicgen_jax.codes import patterns
from musicgen_jax.conversion import musicgen_tensors
from musicgen_jax.sampling import decode, logit_filters

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
melody_port = pytest.importorskip("transformers.models.musicgen_melody.modeling_musicgen_melody")

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "musicgen.npz"
ATOL = 1e-4
# Width and heads of the published models, of 48 layers; MLPs are four times as wide.
SIZES = {"medium": (1536, 24), "large": (2048, 32)}


def small(**changes) -> config.MusicgenConfig:
    """The published small model at its full size, in short windows."""
    return config.MusicgenConfig(context=12, text_width=768, codes_per_second=50.0, **changes)


def their_model(model: config.MusicgenConfig, tensors: dict[str, np.ndarray]):
    """(decoder, projection of texts, projection of melodies or None) of transformers, with these tensors."""
    settings = model.transformer
    channels = {"audio_channels": 2} if model.pattern == "stereo_delay" else {}
    kind = transformers.MusicgenMelodyDecoderConfig if model.melody else transformers.MusicgenDecoderConfig
    shape = kind(
        vocab_size=model.num_codes,
        num_codebooks=model.num_codebooks,
        num_hidden_layers=settings.num_layers,
        hidden_size=settings.width,
        num_attention_heads=settings.num_heads,
        ffn_dim=settings.mlp_width,
        pad_token_id=model.num_codes,
        bos_token_id=model.num_codes,
        **channels,
    )
    with torch.device("meta"):
        decoder = (melody_port.MusicgenMelodyForCausalLM if model.melody else transformers.MusicgenForCausalLM)(shape)
        text = torch.nn.Linear(model.text_width, settings.width)
        melody = torch.nn.Linear(12, settings.width) if model.melody else None
    for prefix, module in {"decoder": decoder, "enc_to_dec_proj": text, "audio_enc_to_dec_proj": melody}.items():
        own = {name.removeprefix(f"{prefix}."): one for name, one in tensors.items() if name.startswith(f"{prefix}.")}
        if module is not None:
            absent, surplus = module.load_state_dict(
                {name: torch.from_numpy(np.ascontiguousarray(one)) for name, one in own.items()},
                strict=False,
                assign=True,
            )
            assert not surplus and all("embed_positions" in name for name in absent)
    positions = decoder.model.decoder.embed_positions  # a buffer, which the meta device has not computed
    del positions.weights
    positions.weights = positions.get_embedding(shape.max_position_embeddings, settings.width)
    return decoder.eval(), text, melody


def columns(model: config.MusicgenConfig, codes: np.ndarray) -> np.ndarray:
    """Their input ids, int64 [B, Q, S]: the first column is special, and so are the gaps of the delay."""
    pattern = patterns.of(model.pattern, codes.shape[1], model.num_codebooks)
    placed = np.asarray(pattern.placed(codes, model.num_codes))
    first = np.full_like(placed[:, :1], model.num_codes)
    return np.moveaxis(np.concatenate([first, placed[:, :-1]], axis=1), 1, 2).astype(np.int64)


@torch.inference_mode()
def their_logits(model: config.MusicgenConfig, tensors: dict[str, np.ndarray], arrays: dict) -> np.ndarray:
    """Of every code: float32 [B, T, Q, K]."""
    decoder, text, melody = their_model(model, tensors)
    mask = torch.from_numpy(arrays["text_mask"])
    states = text(torch.from_numpy(arrays["text"])) * mask[..., None]
    told = {"encoder_hidden_states": states}
    if model.melody:
        hot = torch.nn.functional.one_hot(torch.from_numpy(arrays["chroma"]).long(), 12).float()
        told["encoder_hidden_states"] = torch.cat([melody(hot), states], dim=1)
    elif model.text_padding == "masked":
        told["encoder_attention_mask"] = mask.long()
    ids = columns(model, arrays["codes"])
    out = decoder(input_ids=torch.from_numpy(ids.reshape(-1, ids.shape[2])), **told).logits.numpy()
    by_step = np.moveaxis(out.reshape(*ids.shape[:2], -1, model.num_codes), 1, 2)[:, -ids.shape[2] :]
    return np.asarray(patterns.of(model.pattern, model.context, model.num_codebooks).restored(by_step))


CASES = {
    "masked": tiny_musicgen.model_config(),
    "zeros": tiny_musicgen.model_config(text_padding="zeros"),
    "stereo": tiny_musicgen.model_config(num_codebooks=8, pattern="stereo_delay", context=4),
    "melody": tiny_musicgen.melodic(),
}


def golden() -> dict[str, np.ndarray]:
    """Their logits of all cases, with texts and without."""
    found = {}
    for name, model in CASES.items():
        arrays, tensors = tiny_musicgen.batch(model), tiny_musicgen.published(model)
        found[name] = their_logits(model, tensors, arrays)
        found[f"{name}_untold"] = their_logits(model, tensors, tiny_musicgen.untold(arrays))
    return found


def test_the_golden_file_is_what_transformers_says():
    stored = np.load(GOLDEN)
    for name, logits in golden().items():
        np.testing.assert_allclose(logits, stored[name], atol=1e-5)


def test_small_at_full_size():
    model = small()
    tensors = random_tensors(model)
    prior = tiny_musicgen.trained(model, tensors)
    arrays = wide_batch(model)
    ours, theirs = tiny_musicgen.logits(prior, arrays), their_logits(model, tensors, arrays)
    assert theirs.std() > 0.3
    np.testing.assert_allclose(ours, theirs, atol=ATOL)


@pytest.mark.parametrize("name", ["large", "stereo", "melody"])
def test_other_sizes_at_reduced_depth(name):
    width, heads = SIZES.get(name, SIZES["medium"])
    transformer = config.MusicgenTransformerConfig(
        num_layers=2, width=width, num_heads=heads, head_dim=64, mlp_width=4 * width
    )
    own = {
        "stereo": {"num_codebooks": 8, "pattern": "stereo_delay"},
        "melody": {"melody": True, "chroma_frames": 235, "chroma_seconds": 30.0},
    }
    model = small(transformer=transformer, **own.get(name, {}))
    tensors = random_tensors(model)
    arrays = wide_batch(model)
    ours, theirs = tiny_musicgen.logits(tiny_musicgen.trained(model, tensors), arrays), None
    theirs = their_logits(model, tensors, arrays)
    if name == "melody":
        other = arrays | {"chroma": (arrays["chroma"] + 1) % 12}
        assert np.abs(their_logits(model, tensors, other) - theirs).max() > 0.01, "they hear no melody"
    np.testing.assert_allclose(ours, theirs, atol=ATOL)


def test_greedy_generation_is_the_same_code_by_code():
    """200 steps, with guidance and texts of different lengths."""
    transformer = config.MusicgenTransformerConfig(num_layers=2, width=512, num_heads=8, mlp_width=2048)
    model = small(transformer=transformer)
    model.context = 200 - model.num_codebooks + 1
    tensors, arrays = random_tensors(model), wide_batch(model)
    ours = our_greedy(model, tensors, arrays)
    theirs = their_greedy(model, tensors, arrays)
    assert len(np.unique(theirs)) > 20
    np.testing.assert_array_equal(ours, theirs)


def random_tensors(model: config.MusicgenConfig) -> dict[str, np.ndarray]:
    """As `tiny_musicgen.published`, with magnitudes that suit the width."""
    rng = np.random.default_rng(1)
    found = {}
    for tensor in musicgen_tensors.hugging_face(model):
        table = "embed_tokens" in tensor.name
        std = 0.5 if table else 1.5 * tensor.shape[-1] ** -0.5 if len(tensor.shape) > 1 else 0.1
        values = rng.standard_normal(tensor.shape, np.float32) * np.float32(std)
        found[tensor.name] = values + 1 if "norm" in tensor.name and tensor.name.endswith("weight") else values
    return found


def wide_batch(model: config.MusicgenConfig) -> dict[str, np.ndarray]:
    """Three windows, told texts of 7, 3 and no vectors."""
    rng = np.random.default_rng(2)
    arrays = tiny_musicgen.batch(model, size=3)
    arrays["text"] = rng.normal(scale=0.3, size=(3, 7, model.text_width)).astype(np.float32)
    return arrays | {"text_mask": np.arange(7) < np.array([[7], [3], [0]])}


def our_greedy(model: config.MusicgenConfig, tensors: dict[str, np.ndarray], arrays: dict) -> np.ndarray:
    prior = tiny_musicgen.trained(model, tensors)
    size = len(arrays["codes"])
    settings = logit_filters.Settings(
        temperature=np.ones((size, model.context), np.float32),
        top_p=np.ones(size, np.float32),
        top_k=np.ones(size, np.int32),
        guidance=np.full(size, 3.0, np.float32),
    )
    sample = decode.make_sample_window(prior.functional, guide_by=("text",))
    keys = jax.random.split(jax.random.key(0), size)
    zero, whole = np.zeros(size, np.int32), np.full(size, model.context, np.int32)
    return np.asarray(sample(prior.weights, arrays, zero, whole, keys, zero, settings))


@torch.inference_mode()
def their_greedy(model: config.MusicgenConfig, tensors: dict[str, np.ndarray], arrays: dict) -> np.ndarray:
    """Their decoder step by step with their cache and their mask of the delay pattern; `generate` of the bare decoder
    fails in this version of theirs."""
    decoder, text, _ = their_model(model, tensors)
    mask = torch.from_numpy(arrays["text_mask"])
    states = text(torch.from_numpy(arrays["text"])) * mask[..., None]
    doubled = [torch.cat([one, torch.zeros_like(one)]) for one in (states, mask.long())]
    size, num_codebooks, special = len(mask), model.num_codebooks, model.num_codes
    cache = transformers.EncoderDecoderCache(transformers.DynamicCache(), transformers.DynamicCache())
    first = torch.full((size * num_codebooks, 1), special)
    ids, pattern = decoder.build_delay_pattern_mask(first, special, max_length=model.num_steps + 1)
    for _ in range(model.num_steps):
        ids = decoder.apply_delay_pattern_mask(ids, pattern)
        out = decoder(
            input_ids=ids[:, -1:].repeat(2, 1),
            encoder_hidden_states=doubled[0],
            encoder_attention_mask=doubled[1],
            past_key_values=cache,
            use_cache=True,
        )
        told, untold = out.logits[:, -1].chunk(2)
        ids = torch.cat([ids, (untold + 3.0 * (told - untold)).argmax(dim=-1, keepdim=True)], dim=1)
    ids = decoder.apply_delay_pattern_mask(ids, pattern).numpy().reshape(size, num_codebooks, -1)
    return np.stack([ids[:, q, 1 + q : 1 + q + model.context] for q in range(num_codebooks)], axis=2)


if __name__ == "__main__":
    np.savez_compressed(GOLDEN, **golden())
