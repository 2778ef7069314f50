"""The network of the diffusion model: a window with masked codes -> a distribution for each of them.

It is not told the time. With an absorbing state the share of masked codes says all about it: the distribution of the
codes given those that are known does not depend on when the others were masked (Ou et al. 2024, theorem 1; Sahoo et al.
2024, section 3.5), and the network sees which are.
"""

import jax
import jax.numpy as jnp

from musicgen_jax.conditions.condition import Condition
from musicgen_jax.priors import code_model
from musicgen_jax.sharding import rules


class Denoiser(code_model.CodeModel):
    """p(code_t | the codes of the window that are known, labels, timing, codes of the tier above), for every t at once.

    Codes are of one codebook, [B, T, 1]. Code K, one behind it, is [MASK]: its embedding is the vector `start`.
    Attention looks both ways.
    """

    causal = False

    def inputs(self, codes: jax.Array, condition: Condition) -> jax.Array:
        """codes int32 [B, T, 1], K where they are masked -> the stack's input [B, T, D]."""
        x = self.embedded(jnp.where(codes == self.config.num_codes, -1, codes)) + condition.added
        return rules.constrain(x, self.rules, ("batch", "residual_sequence", "residual"))
