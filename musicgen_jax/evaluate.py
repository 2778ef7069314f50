"""Judges a tokenizer, priors and samples on held-out tracks -> metrics.json and report.html.

    python -m musicgen_jax.evaluate --vqvae=DIR --data=DIR --samples=DIR --top=DIR --middle=DIR --bottom=DIR --out=DIR

Without --samples there is no FAD; without priors no likelihood. The page says what is absent.
"""

import pathlib

from absl import flags

from musicgen_jax import cli

_VQVAE = cli.define_path("vqvae", None, "Workdir of train_vqvae.", required=True)
_DATA = cli.define_path("data", None, "Folder written by prepare_data.", required=True)
_SAMPLES = cli.define_path("samples", "", "Folder written by sample.")
_TOP = cli.define_path("top", "", "Workdir of the top prior.")
_MIDDLE = cli.define_path("middle", "", "Workdir of the middle prior.")
_BOTTOM = cli.define_path("bottom", "", "Workdir of the bottom prior.")
_OUT = cli.define_path("out", None, "Folder for metrics.json and report.html.", required=True)
_MAX_SECONDS = flags.DEFINE_float("max_seconds", 60.0, "Of each held-out track, from its beginning.")
_MAX_CODES = flags.DEFINE_integer("max_codes", 100_000, "Held-out codes that each prior is scored on.")


def main() -> None:
    """Flags -> parts -> one call."""
    from musicgen_jax import closing, pretrained  # JAX and all else that is heavy: after the flags
    from musicgen_jax.evaluation import evaluation

    tokenizer = pretrained.load_vqvae(_VQVAE.value)
    workdirs = {"vqvae": _VQVAE.value, "top": _TOP.value, "middle": _MIDDLE.value, "bottom": _BOTTOM.value}
    workdirs = {name: path for name, path in workdirs.items() if path}
    priors = {tier: pretrained.load_prior(path, tier) for tier, path in workdirs.items() if tier != "vqvae"}
    settings = evaluation.Settings(_DATA.value, _SAMPLES.value, _MAX_SECONDS.value, _MAX_CODES.value)
    metrics = evaluation.evaluate(tokenizer, priors, settings, workdirs, _OUT.value)
    for tier, values in metrics["reconstruction"].items():
        usage = metrics["codebook"][tier]["usage"]
        print(f"{tier}: spectral convergence {values['spectral_convergence_db']:.2f} dB, {usage:.0%} of the codes used")
    for tier in priors:
        values = metrics["prior"][tier]
        print(f"{tier} prior: {values['nats_per_code']:.3f} nats per code, bigram model {values['bigram_nats']:.3f}")
    closing.after_evaluate(_OUT.value)
    print(pathlib.Path(_OUT.value, "report.html").absolute())


if __name__ == "__main__":
    cli.run(main)
