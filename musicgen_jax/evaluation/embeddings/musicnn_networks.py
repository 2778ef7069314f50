"""The two networks of musicnn, as functions of their weights under the names that their checkpoints have.

Batch normalization uses the moving averages; dropout does nothing. All are computed in float32 on any device.
"""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from musicgen_jax.config import require
from musicgen_jax.runtime import files

EPSILON = 1e-3  # of batch normalization
NORMALIZATION = ("beta", "gamma", "moving_mean", "moving_variance")
Weights = Mapping[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Network:
    """One of them.

    Attributes:
      name: of the embedding.
      dimensions: D of its output.
      shapes: of its weights.
      run: (weights, log-mel patches float32 [B, 187, 96]) -> float32 [B, D].
    """

    name: str
    dimensions: int
    shapes: Mapping[str, tuple[int, ...]]
    run: Callable[[Weights, jax.Array], jax.Array]


def of_tensors(
    tensors: Mapping[str, np.ndarray], where: files.Path, remedy: str
) -> tuple[Network, dict[str, np.ndarray]]:
    """The network that a checkpoint is of, and its weights without those of the optimizer and of the tags.

    Raises:
      UserError: it is of none of them; names what is missing or has another shape.
    """
    network = VGG if "1CNN/kernel" in tensors else MUSICNN
    wrong = [
        f"{name} {list(tensors[name].shape) if name in tensors else 'missing'}, not {list(shape)}"
        for name, shape in network.shapes.items()
        if name not in tensors or tensors[name].shape != shape
    ]
    require(not wrong, f"{where} is no checkpoint of musicnn ({'; '.join(wrong[:3])}): {remedy}")
    return network, {name: tensors[name] for name in network.shapes}


def _musicnn(weights: Weights, patches: jax.Array) -> jax.Array:
    """Filters of many shapes, three layers over time, pooling over time: 200 numbers before the tags."""
    normalized = _normalize(weights, 0, patches[..., None])
    high = jnp.pad(normalized, ((0, 0), (3, 3), (0, 0), (0, 0)))
    tall = [_highest(weights, number, high, "VALID") for number in (0, 1)]
    long = [_highest(weights, number, normalized, "SAME") for number in (2, 3, 4)]
    features = layers = jnp.concatenate(tall + long, axis=-1)  # [B, T, 561]
    for number in (5, 6, 7):
        name = f"conv2d_{number}"
        kernel = weights[f"{name}/kernel"][..., 0, :]  # over all features: a convolution over time
        layer = _convolve(layers, kernel, "SAME") + weights[f"{name}/bias"]
        layer = _normalize(weights, number + 1, jax.nn.relu(layer))
        layers = layer if number == 5 else layer + layers
        features = jnp.concatenate([features, layers], axis=-1)
    pooled = jnp.stack([features.max(axis=1), features.mean(axis=1)], axis=-1).reshape(len(features), -1)
    hidden = jnp.dot(_normalize(weights, 9, pooled), weights["dense/kernel"], precision="highest")
    return _normalize(weights, 10, jax.nn.relu(hidden + weights["dense/bias"]))


def _vgg(weights: Weights, patches: jax.Array) -> jax.Array:
    """Five layers of 3x3 filters with pooling: 256 numbers before the tags."""
    x = _normalize(weights, 0, patches[..., None])
    pools = [((4, 1), (2, 2)), ((2, 2), (2, 2)), ((2, 2), (2, 2)), ((2, 2), (2, 2)), ((4, 4), (4, 4))]
    for number, (window, stride) in enumerate(pools, 1):
        x = _convolve(x, weights[f"{number}CNN/kernel"], "SAME") + weights[f"{number}CNN/bias"]
        x = _normalize(weights, number, jax.nn.relu(x))
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, *window, 1), (1, *stride, 1), "VALID")
    return x.reshape(len(x), -1)


def _highest(weights: Weights, number: int, x: jax.Array, padding: str) -> jax.Array:
    """A layer of 2-D filters, [B, T, F, 1] -> [B, T, C]: of each the strongest answer at any frequency."""
    name = f"conv2d_{number}" if number else "conv2d"
    x = _convolve(x, weights[f"{name}/kernel"], padding) + weights[f"{name}/bias"]
    return _normalize(weights, number + 1, jax.nn.relu(x)).max(axis=2)


def _convolve(x: jax.Array, kernel: jax.Array, padding: str) -> jax.Array:
    """[B, ..., C] with a kernel [..., C, C'], over one or two axes."""
    axes = ("NWC", "WIO", "NWC") if x.ndim == 3 else ("NHWC", "HWIO", "NHWC")
    strides = (1,) * (x.ndim - 2)
    return jax.lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=axes, precision="highest")


def _normalize(weights: Weights, number: int, x: jax.Array) -> jax.Array:
    beta, gamma, mean, variance = (weights[f"{_normalization(number)}/{part}"] for part in NORMALIZATION)
    return (x - mean) * (gamma / jnp.sqrt(variance + EPSILON)) + beta


def _normalization(number: int) -> str:
    return f"batch_normalization_{number}" if number else "batch_normalization"


def _shapes(kernels: Mapping[str, tuple[int, ...]], widths: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Shapes of kernels, of their biases, and of normalizations of so many channels."""
    shapes = {f"{name}/kernel": shape for name, shape in kernels.items()}
    shapes |= {f"{name}/bias": shape[-1:] for name, shape in kernels.items()}
    return shapes | {
        f"{_normalization(number)}/{part}": (width,) for number, width in enumerate(widths) for part in NORMALIZATION
    }


MUSICNN = Network(
    name="musicnn",
    dimensions=200,
    shapes=_shapes(
        {
            "conv2d": (7, 38, 1, 204),
            "conv2d_1": (7, 67, 1, 204),
            "conv2d_2": (128, 1, 1, 51),
            "conv2d_3": (64, 1, 1, 51),
            "conv2d_4": (32, 1, 1, 51),
            "conv2d_5": (7, 561, 1, 64),
            "conv2d_6": (7, 64, 1, 64),
            "conv2d_7": (7, 64, 1, 64),
            "dense": (1506, 200),
        },
        (1, 204, 204, 51, 51, 51, 64, 64, 64, 1506, 200),
    ),
    run=_musicnn,
)
VGG = Network(
    name="musicnn-vgg",
    dimensions=256,
    shapes=_shapes(
        {f"{number}CNN": (3, 3, 1 if number == 1 else 128, 128) for number in range(1, 6)}, (1, *(128,) * 5)
    ),
    run=_vgg,
)
