"""T5's encoder against transformers: t5-base at its published size, Flan-T5 with fewer layers, and the golden file."""

import numpy as np
import pytest
import tiny_text

from musicgen_jax import config
from musicgen_jax.conversion import t5
from musicgen_jax.text import t5 as module
from musicgen_jax.text import text_encoder

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def theirs(model: config.T5Config) -> "torch.nn.Module":
    """Their encoder of these sizes, with random weights as they begin."""
    torch.manual_seed(0)
    return transformers.T5EncoderModel(transformers.T5Config(**t5.published(model))).eval()


@torch.no_grad()
def their_states(encoder: "torch.nn.Module", numbers: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """float32 [B, M, D], 0 where there is no token."""
    states = encoder(torch.from_numpy(numbers.astype(np.int64)), torch.from_numpy(mask.astype(np.int64)))[0]
    return states.numpy() * mask[..., None]


@pytest.mark.parametrize(
    "model",
    [
        config.T5Config(),
        config.T5Config(feed_forward="gated-gelu", mlp_width=2048, num_layers=3),  # flan-t5-base has 12
    ],
    ids=["t5-base", "flan"],
)
def test_states_agree(model):
    """Rows that are longer than distances are told apart, of a few tokens, and empty."""
    encoder = theirs(model)
    numbers = np.random.default_rng(0).integers(3, 32000, (3, 200)).astype(np.int32)
    mask = np.arange(200) < np.array([200, 12, 0])[:, None]
    expected = their_states(encoder, numbers, mask)
    assert np.isfinite(expected).all() and expected[mask].std() > 0.1
    tensors = {name: tensor.numpy() for name, tensor in encoder.state_dict().items()}
    functional = text_encoder.functional(model)
    ours = functional.bind(t5.to_native(model, tensors)["params"], {})(numbers, mask)
    np.testing.assert_allclose(np.asarray(ours), expected, atol=1e-4)


def test_distances_agree():
    attention = transformers.models.t5.modeling_t5.T5Attention
    ahead = torch.arange(2000)[None] - torch.arange(2000)[:, None]
    expected = attention._relative_position_bucket(ahead, bidirectional=True, num_buckets=32, max_distance=128)
    np.testing.assert_array_equal(module.buckets(2000, 32, 128), expected.numpy())


def golden() -> dict[str, np.ndarray]:
    """Every tenth state of the models that the fast suite runs."""
    found = {}
    for feed_forward in config.FEED_FORWARDS:
        model = tiny_text.model_config(feed_forward)
        encoder = theirs(model)
        tensors = {name: torch.from_numpy(array) for name, array in tiny_text.published_tensors(model).items()}
        encoder.load_state_dict(tensors, strict=True)
        found[feed_forward] = their_states(encoder, *tiny_text.golden_batch())[:, ::10]
    return found


def test_golden_file_is_what_transformers_computes():
    stored, computed = np.load(tiny_text.GOLDEN_FILE), golden()
    assert sorted(stored) == sorted(computed)
    for name, states in computed.items():
        np.testing.assert_allclose(stored[name], states, atol=1e-5)


if __name__ == "__main__":  # writes the golden file anew
    np.savez_compressed(tiny_text.GOLDEN_FILE, **golden())
