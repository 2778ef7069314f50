"""A matrix that stays as it is, and beside it a product of two narrow ones that learns (LoRA, Hu et al. 2021)."""

import dataclasses

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LowRank:
    """Arrays that stand for `base + scale * down @ up` (Hu et al. 2021, equation 3), which is never written out.

    A pytree whose leaves share the axes before those of the product, such as [layers], so that a scan or an index along
    these takes the same part of all. Axes that are in neither `inputs` nor `outputs` number matrices that are
    independent of each other, each with a `down` and an `up` of its own.

    Attributes:
      base: the matrix, of any shape.
      down: its independent axes, those that products sum over, and R.
      up: its independent axes, R, and those of what products make. Each group of axes is in the order of `base`.
      scale: alpha / R.
      inputs: axes of `base` that products sum over, counted from its end, in rising order.
      outputs: axes of what products make, likewise.
    """

    base: jax.Array
    down: jax.Array
    up: jax.Array
    scale: float = dataclasses.field(metadata={"static": True})
    inputs: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    outputs: tuple[int, ...] = dataclasses.field(metadata={"static": True})

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the matrix."""
        return self.base.shape

    @property
    def ndim(self) -> int:
        """Number of its axes."""
        return self.base.ndim

    def __getitem__(self, index: object) -> "LowRank":
        """Of the axes before those of the product."""
        return jax.tree.map(lambda leaf: leaf[index], self)

    def astype(self, dtype: jnp.dtype) -> jax.Array:
        """The matrix that it stands for, written out."""
        return self.merged().astype(dtype)

    def merged(self) -> jax.Array:
        """The matrix that it stands for, float32 where its parts are."""
        letters = "".join(chr(ord("a") + axis) for axis in range(self.ndim))
        own, inputs, outputs = self._letters(letters)
        spec = f"{own}{inputs}R,{own}R{outputs}->{letters}"
        return self.base + self.scale * jnp.einsum(spec, self.down, self.up)

    def added(self, spec: str, x: jax.Array, dtype: jnp.dtype, result_dtype: jnp.dtype) -> jax.Array:
        """What a product with the matrix has beside that with `base`: scale * (x @ down) @ up.

        Args:
          spec: of the product, as `transformer.weights.einsum` takes it.
          x: what is multiplied.
          dtype: in which.
          result_dtype: of what comes out.
        """
        letters, out = spec.split("->")
        x_letters, weight_letters = letters.split(",")
        own, inputs, outputs = self._letters(weight_letters)
        kept = "".join(letter for letter in x_letters if letter not in inputs)
        narrow = kept + "".join(letter for letter in own if letter not in kept) + "R"
        rows = jnp.einsum(f"{x_letters},{own}{inputs}R->{narrow}", x, (self.scale * self.down).astype(dtype))
        up = self.up.astype(dtype)
        return jnp.einsum(f"{narrow},{own}R{outputs}->{out}", rows, up, preferred_element_type=result_dtype)

    def _letters(self, letters: str) -> tuple[str, str, str]:
        """Of the letters of the matrix's axes those of the independent ones, of the inputs and of the outputs."""
        inputs, outputs = ("".join(letters[axis] for axis in axes) for axes in (self.inputs, self.outputs))
        return "".join(letter for letter in letters if letter not in inputs + outputs), inputs, outputs
