"""What the models over the codes of one tier share: embeddings, conditioning, blocks, prediction."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
from flax import nnx

from musicgen_jax import config
from musicgen_jax.codes import patterns
from musicgen_jax.conditions import above, chroma, guidance, labels, lyrics, position, score, text, timing
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
        rest = labels.stored_path(path[2:]) if path[1] == "labels" else path[2:]
        return _STORED[path[1]], *rest
    return path


class CodeModel(nnx.Module):
    """Codes and what is known besides them -> a distribution for every code of the window.

    A window of T frames of Q codes takes S steps of the stack, one a frame where there is one codebook; see
    `codes.patterns`. A subclass says whether attention is `causal`, and has a method `inputs(codes, condition)`: codes
    [B, T, Q] and what is known besides them -> the stack's input [B, S, D].
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
        codebooks: tier -> the tokenizer's entries [Q, K, W], which the code embeddings start from; without them (a
          checkpoint will be loaded) they start at random.
        dtype: of activations.
        rngs: initial parameters.
        """
        axis_rules = rules.AxisRules() if axis_rules is None else axis_rules
        width = model.transformer.width
        self.config, self.rules, self.dtype = model, axis_rules, dtype
        sizes = (codebooks.get(model.tier), model.num_codebooks, model.num_codes, width, rngs)
        # A frame is as large as the conditioning of the tier above, which arrives normalised: else it would drown the
        # past.
        table = tables.of_codebooks(*sizes) / model.num_codebooks**0.5
        self.codes = parameter(table, EMBEDDING, ("codes", "width"))
        # Stands where no code is known: before the first codes of a prior, at the masked codes of a denoiser. For each
        # of Q codebooks a share of it, or a vector of its own.
        rows = (model.num_codebooks,) if model.absent_by_codebook else ()
        start = jax.random.normal(rngs.params(), (*rows, width)) / math.prod(rows) ** 0.5
        self.start = parameter(start, VECTOR, (*(None for _ in rows), "width"))
        conditions = {"labels": labels.Labels(model, axis_rules, rngs=rngs)}
        if model.hears_timing:
            conditions["timing"] = timing.Timing(model, axis_rules, rngs=rngs)
        if model.upsampling:
            conditions["above"] = above.Above(model, codebooks=codebooks, dtype=dtype, rngs=rngs)
        if model.score:
            conditions["score"] = score.Score(model, dtype=dtype, rngs=rngs)
        if model.lyrics:
            conditions["lyrics"] = lyrics.Lyrics(model, axis_rules, dtype=dtype, rngs=rngs)
        if model.text:
            of_text = chroma.Melody if model.melody else text.Text
            conditions["text"] = of_text(model, dtype=dtype, rngs=rngs)
        if model.hears_meter:
            conditions["position"] = position.Position(model, axis_rules, rngs=rngs)
        if model.guided_by:
            conditions["guidance"] = guidance.Guidance(model, rngs=rngs)
        self.told = tuple(conditions)  # in this order they are summed; a bound module has its own
        self.conditions = nnx.Dict(conditions)
        span = attention.Span(model.transformer.max_distance or model.num_steps, self.causal)
        reads = any(told.is_memory for told in conditions.values())
        self.stack = stack.Stack(model.transformer, span, axis_rules, reads_memory=reads, dtype=dtype, rngs=rngs)
        # Likewise from the codebook: neighbouring entries start with similar logits.
        logits = 0.02 * tables.of_codebooks(*sizes).T
        self.logits = parameter(logits, EMBEDDING, ("width", "codes"), inputs=(-2,), int8=BOTH)
        bias = parameter(jnp.zeros((model.num_codebooks * model.num_codes,)), BIAS, ("codes",))
        self.bias = bias if model.output_bias else None

    @property
    def pattern(self) -> patterns.Pattern:
        """In which steps the codes of a window are predicted."""
        return patterns.of(self.config.pattern, self.config.context, self.config.num_codebooks)

    def condition(
        self, batch: dict[str, jax.Array], hidden: Mapping[str, jax.Array] = MappingProxyType({})
    ) -> Condition:
        """What is known at every step besides the codes: what is known of the latest frame that it predicts.

        Args:
          batch: see `code_dataset.Windows.window` for its arrays.
          hidden: condition -> bool [B], the windows that are not told it. Only labels can be hidden from any model, the
            others from one that was trained with some of them hidden.
        """
        parts = [self.conditions[name](batch, hidden.get(name)) for name in self.told]
        of_frames = joined(parts, self.config.context, self.dtype)
        if self.config.num_codebooks == 1:
            return of_frames
        return dataclasses.replace(of_frames, added=of_frames.added[:, self.pattern.newest])

    def embedded(self, codes: jax.Array, *, all_known: bool = False) -> jax.Array:
        """Sum of the embeddings of the codes of each step, int32 [..., Q] with -1 where none is known: [..., D].

        `all_known` promises that there is no -1.
        """
        table, start = tables.collected(self.codes[...].astype(self.dtype), self.rules), self.start[...]
        if all_known:
            return tables.summed(table, codes)
        if self.config.absent_by_codebook:
            absent = jnp.einsum("...q,qd->...d", (codes < 0).astype(start.dtype), start)
            return tables.summed_known(table, codes) + absent.astype(self.dtype)
        if self.config.num_codebooks == 1:  # the sum below, as a choice between two rows
            return jnp.where(codes < 0, start.astype(self.dtype), tables.summed(table, jnp.maximum(codes, 0)))
        share = jnp.mean(codes < 0, axis=-1, keepdims=True, dtype=jnp.float32)
        return tables.summed_known(table, codes) + (share * start).astype(self.dtype)

    def __call__(self, batch: dict[str, jax.Array], key: jax.Array | None = None) -> jax.Array:
        """Logits [B, T, Q, K] float32 of a window given its own codes and conditions; `key` turns dropout on."""
        logits = self.predictor()(self.hidden(batch, key))
        by_codebook = logits.reshape(*logits.shape[:2], self.config.num_codebooks, self.config.num_codes)
        return self.pattern.restored(by_codebook)

    def hidden(self, batch: dict[str, jax.Array], key: jax.Array | None = None) -> jax.Array:
        """What `__call__` predicts from: the stack's output [B, S, D]. `key` turns dropout of conditions on, too."""
        hidden = {} if key is None else self.hidden_conditions(len(batch["codes"]), key)
        return self.run(batch["codes"], self.condition(batch, hidden), key)

    def hidden_conditions(self, size: int, key: jax.Array) -> dict[str, jax.Array]:
        """Which windows of a training batch are not told which condition: as `condition` takes it."""
        # No layer's number among the streams: the keys of the layers' dropout are others.
        streams = {name: self.conditions[name].stream for name in self.told}
        shares = {name: self.config.dropout_of(name) for name in self.told}
        return hidden_rows(key, size, shares, streams)

    def run(self, codes: jax.Array, told: Condition, key: jax.Array | None = None) -> jax.Array:
        """The stack's output [B, S, D] for codes int32 [B, T, Q]; `key` turns the dropout of layers on."""
        out = self.stack(self.inputs(codes, told), key, told.memory, told.memory_mask)
        return out if told.lead is None else out[:, told.lead.shape[1] :]

    def predict(self, x: jax.Array) -> jax.Array:
        """The stack's output [..., D] -> logits [..., Q * K] float32."""
        return self._predict(x, self.logits[...])

    def predictor(self) -> Callable[[jax.Array], jax.Array]:
        """`predict` for [B, S, D] on a mesh: it collects the table now, and not at every turn of a loop."""
        names = ("residual", "codes")
        table = jax.tree.map(lambda leaf: rules.constrain(leaf, self.rules, names), self.logits[...])

        def predict(x: jax.Array) -> jax.Array:
            x = rules.constrain(x, self.rules, ("batch", "sequence", "residual"))
            return rules.constrain(self._predict(x, table), self.rules, ("batch", "sequence", "codes"))

        return predict

    def _predict(self, x: jax.Array, table: weights.Weight) -> jax.Array:
        logits = weights.einsum("...d,dk->...k", x, table, self.dtype, jnp.float32)
        return logits if self.bias is None else logits + self.bias[...]
