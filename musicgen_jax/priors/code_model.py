"""What the models over the codes of one tier share: embeddings, conditioning, blocks, prediction."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.conditions import above, labels, timing
from musicgen_jax.conditions.condition import Condition, hidden_rows, joined
from musicgen_jax.nn import tables
from musicgen_jax.nn.parameters import BIAS, BOTH, EMBEDDING, VECTOR, parameter
from musicgen_jax.sharding import rules
from musicgen_jax.transformer import attention, stack, weights

# Where checkpoints have the parameters of conditions that were one module, or had other names, when they were written.
_STORED = {"labels": "labels", "timing": "labels", "above": "upsampler", "lyrics": "lyrics"}


def stored_path(path: tuple) -> tuple:
    """Where trees outside of the module have a parameter; see `modules.Functional`."""
    if path[0] == "conditions" and path[1] in _STORED:
        return _STORED[path[1]], *path[2:]
    return path


class CodeModel(nnx.Module):
    """Codes and what is known besides them -> a distribution for every code of the window.

    A subclass says whether attention is `causal`, and has a method `inputs(codes, condition)`: codes [B, T] and what is
    known besides them -> the stack's input [B, T, D].
    """

    causal: bool
    stored_path = staticmethod(stored_path)

    def __init__(
        self,
        model: config.PriorConfig,
        axis_rules: rules.AxisRules | None = None,
        *,
        codebooks: Mapping[str, jax.typing.ArrayLike] = MappingProxyType({}),
        dtype: jnp.dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        """Args:
        model: sizes, labels, tier.
        axis_rules: layout on a mesh; the default rules if None.
        codebooks: tier -> the tokenizer's entries [K, W], which the code embeddings start from; without them (a
          checkpoint will be loaded) they start at random.
        dtype: of activations.
        rngs: initial parameters.
        """
        axis_rules = rules.AxisRules() if axis_rules is None else axis_rules
        width = model.transformer.width
        self.config, self.rules, self.dtype = model, axis_rules, dtype
        # As large as the conditioning of the tier above, which arrives normalised: else it would drown the past.
        table = tables.of_codebook(codebooks.get(model.tier), model.num_codes, width, rngs)
        self.codes = parameter(table, EMBEDDING, ("codes", "width"))
        # Stands where no code is known: before the first code of a prior, at the masked codes of a denoiser.
        self.start = parameter(jax.random.normal(rngs.params(), (width,)), VECTOR, ("width",))
        conditions = {
            "labels": labels.Labels(model, axis_rules, rngs=rngs),
            "timing": timing.Timing(model, axis_rules, rngs=rngs),
        }
        if model.upsampling:
            conditions["above"] = above.Above(model, codebooks=codebooks, dtype=dtype, rngs=rngs)
        self.told = tuple(conditions)  # in this order they are summed; a bound module has its own
        self.conditions = nnx.Dict(conditions)
        span = attention.Span(model.transformer.max_distance or model.context, self.causal)
        reads = any(told.is_memory for told in conditions.values())
        self.stack = stack.Stack(model.transformer, span, axis_rules, reads_memory=reads, dtype=dtype, rngs=rngs)
        # Likewise from the codebook: neighbouring entries start with similar logits.
        logits = 0.02 * tables.of_codebook(codebooks.get(model.tier), model.num_codes, width, rngs).T
        self.logits = parameter(logits, EMBEDDING, ("width", "codes"), inputs=(-2,), int8=BOTH)
        self.bias = parameter(jnp.zeros((model.num_codes,)), BIAS, ("codes",))

    def condition(
        self, batch: dict[str, jax.Array], hidden: Mapping[str, jax.Array] = MappingProxyType({})
    ) -> Condition:
        """What is known of every position besides its code.

        Args:
          batch: see `code_dataset.Windows.window` for its arrays.
          hidden: condition -> bool [B], the windows that are not told it. Only labels can be hidden from any model, the
            others from one that was trained with some of them hidden.
        """
        parts = [self.conditions[name](batch, hidden.get(name)) for name in self.told]
        return joined(parts, self.config.context, self.dtype)

    def __call__(self, batch: dict[str, jax.Array], key: jax.Array | None = None) -> jax.Array:
        """Logits [B, T, K] float32 of a window given its own codes and conditions; `key` turns dropout on."""
        return self.predictor()(self.hidden(batch, key))

    def hidden(self, batch: dict[str, jax.Array], key: jax.Array | None = None) -> jax.Array:
        """What `__call__` predicts from: the stack's output [B, T, D]. `key` turns dropout of conditions on, too."""
        hidden = {}
        if key is not None:
            # No layer's number among the streams: the keys of the layers' dropout are others.
            streams = {name: self.conditions[name].stream for name in self.told}
            shares = {name: self.config.dropout_of(name) for name in self.told}
            hidden = hidden_rows(key, len(batch["codes"]), shares, streams)
        return self.run(batch["codes"], self.condition(batch, hidden), key)

    def run(self, codes: jax.Array, told: Condition, key: jax.Array | None = None) -> jax.Array:
        """The stack's output [B, T, D] for codes int32 [B, T]; `key` turns the dropout of layers on."""
        return self.stack(self.inputs(codes, told), key, told.memory, told.memory_mask)

    def predict(self, x: jax.Array) -> jax.Array:
        """The stack's output [..., D] -> logits [..., K] float32."""
        return self._predict(x, self.logits[...])

    def predictor(self) -> Callable[[jax.Array], jax.Array]:
        """`predict` for [B, T, D] on a mesh: it collects the table now, and not at every turn of a loop."""
        names = ("residual", "codes")
        table = jax.tree.map(lambda leaf: rules.constrain(leaf, self.rules, names), self.logits[...])

        def predict(x: jax.Array) -> jax.Array:
            x = rules.constrain(x, self.rules, ("batch", "sequence", "residual"))
            return rules.constrain(self._predict(x, table), self.rules, ("batch", "sequence", "codes"))

        return predict

    def _predict(self, x: jax.Array, table: weights.Weight) -> jax.Array:
        return weights.einsum("...d,dk->...k", x, table, self.dtype, jnp.float32) + self.bias[...]
