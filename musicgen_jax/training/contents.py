"""What a checkpoint holds: its items, the facts beside them, and what must agree for a run to go on from it."""

import hashlib
import json
import zlib
from typing import Any

import jax

from musicgen_jax.config import fields
from musicgen_jax.training import digests, state

FORMAT_VERSION = 1


def items(current: state.TrainState) -> dict[str, Any]:
    """The nested dicts that are written; leaves may be arrays or ShapeDtypeStructs."""
    leaves = jax.tree_util.tree_leaves_with_path(current.opt_state)
    return {
        "model": {"params": current.params, "buffers": current.buffers, "ema_params": current.ema_params},
        "trainer": {
            "step": current.step,
            "opt_state": {_key(path): leaf for path, leaf in leaves},
            "loss_scale": current.loss_scale.scale,
            "good_steps": current.loss_scale.good_steps,
            "skipped": current.skipped,
            "skipped_in_a_row": current.skipped_in_a_row,
        },
    }


def from_items(items: dict[str, Any], abstract: state.TrainState) -> state.TrainState:
    """Inverse of `items`; `abstract` has the optimizer's structure."""
    model, trainer = items["model"], items["trainer"]
    paths = jax.tree_util.tree_leaves_with_path(abstract.opt_state)
    leaves = [trainer["opt_state"][_key(path)] for path, _ in paths]
    loss_scale = type(abstract.loss_scale)(scale=trainer["loss_scale"], good_steps=trainer["good_steps"])
    return state.TrainState(
        step=trainer["step"],
        params=model["params"],
        buffers=model["buffers"],
        ema_params=model["ema_params"],
        opt_state=jax.tree.unflatten(jax.tree.structure(abstract.opt_state), leaves),
        loss_scale=loss_scale,
        skipped=trainer["skipped"],
        skipped_in_a_row=trainer["skipped_in_a_row"],
    )


def _key(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dicts -> {"a/b/c": leaf}; lists are leaves."""
    if not isinstance(tree, dict):
        return {prefix: tree}
    flat = {}
    for name, value in tree.items():
        flat |= flatten(value, f"{prefix}/{name}" if prefix else str(name))
    return flat


def facts(items: dict[str, Any], config: dict) -> dict[str, Any]:
    """What is written beside `items`, as JSON: dtype, shape and digest of every array, and a digest of all that."""
    leaves = flatten(items)
    values = digests.of_arrays(leaves)
    arrays: dict[str, dict[str, list[str]]] = {name: {} for name in items}
    for path, leaf in leaves.items():
        name, _, rest = path.partition("/")
        arrays[name][rest] = [shape(leaf), values[path]]
    found = {"format_version": FORMAT_VERSION, "config": config, "items": sorted(items), "arrays": arrays}
    return found | {"digest": digest_of(found)}


def digest_of(facts: dict[str, Any]) -> str:
    """CRC-32 of all else in `facts`."""
    text = json.dumps({name: value for name, value in facts.items() if name != "digest"}, sort_keys=True)
    return f"{zlib.crc32(text.encode()):08x}"


def fingerprint(facts: dict[str, Any]) -> str:
    """Hexadecimal digest of the weights that a checkpoint gives to inference, by the facts beside it; "" where these
    are older than digests of arrays."""
    arrays = facts.get("arrays", {}).get("model", {})
    averaged = any(path.startswith("ema_params/") for path in arrays)
    kept = ("ema_params" if averaged else "params", "buffers")
    known = {path.replace("ema_params/", "params/"): one for path, one in arrays.items() if path.split("/")[0] in kept}
    text = json.dumps(known, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16] if known else ""


def shapes(facts: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Dtype and shape of every array, by item and path."""
    arrays = facts.get("arrays", {})
    return {name: {path: shape for path, (shape, _) in item.items()} for name, item in arrays.items()}


def differences(
    facts: dict[str, Any], stored: dict[str, dict[str, str]], items: dict[str, Any], config: dict
) -> list[str]:
    """One line for each thing in which a checkpoint differs from this code, `config` or `items`.

    Args:
      facts: of the checkpoint.
      stored: item -> path -> dtype and shape, as far as they are known.
      items: item -> tree of what has dtype and shape.
      config: of the model.
    """
    found = []
    if facts.get("format_version") != FORMAT_VERSION:
        found.append(f"format_version: checkpoint {facts.get('format_version')}, this code {FORMAT_VERSION}")
    found += _differences(_compared(facts.get("config", {})), _compared(config))
    for name, item in items.items():
        if name in stored or name not in facts.get("items", items):
            wanted = {path: shape(leaf) for path, leaf in flatten(item).items()}
            found += [f"{name}/{line}" for line in _differences(stored.get(name, {}), wanted)]
    return found


def _compared(config: dict) -> dict[str, Any]:
    """What two model configs must agree on, by path; an empty list is as good as none."""
    values = fields.YOUNGER | flatten(fields.of_today(config))
    return {path: value for path, value in values.items() if path not in fields.LEVERS and value != []}


def shape(leaf: Any) -> str:
    """Dtype and shape of an array for messages, such as "float32[3, 4]"."""
    return f"{leaf.dtype}{list(leaf.shape)}"


def _differences(stored: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    lines = []
    for path in sorted(set(stored) | set(wanted)):
        old, new = stored.get(path, "absent"), wanted.get(path, "absent")
        if old != new:
            lines.append(f"{path}: checkpoint {old}, this run {new}")
    return lines
