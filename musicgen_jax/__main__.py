"""`python -m musicgen_jax VERB --flags`, and the console script `musicgen-jax VERB --flags`."""

import runpy
import sys

import musicgen_jax
from musicgen_jax.runtime import console, records

# In the order of the pipeline; each is a module of that name.
VERBS = {
    "prepare_data": "recordings or scores -> checked, resampled audio shards",
    "train_vqvae": "audio shards -> a tokenizer: audio <-> streams of codes, coarse to fine",
    "extract_codes": "audio -> codes of every stream; or one recording -> a file of codes",
    "train_prior": "codes -> the prior of one stream, autoregressive or by diffusion",
    "sample": "priors -> codes -> new music; or a file of codes -> sound",
    "evaluate": "held-out tracks, samples -> metrics and a report",
    "listen": "systems' clips -> a listening test in the browser, and what its answers say",
    "compress": "a prior -> int8 weights, fewer heads, or a sampler of a few steps",
    "convert": "a published checkpoint <-> a native one",
    "plan": "a config and chips -> does it fit, and how fast can it be",
}


def overview() -> str:
    """The verbs, one line each, and how to go on."""
    width = max(map(len, VERBS))
    lines = [f"  {verb:{width}}  {line}" for verb, line in VERBS.items()]
    return "\n".join(["musicgen-jax VERB --flags", "", *lines, "", "musicgen-jax VERB --help lists a verb's flags."])


def main() -> None:
    """Runs the verb that the first argument names, as `python -m musicgen_jax.VERB` does."""
    name, *arguments = sys.argv[1:] or ["--help"]
    verb = name.replace("-", "_")
    if name in ("--help", "-h", "help", "--version"):
        with console.until_reader_leaves():
            print(f"musicgen_jax {musicgen_jax.__version__}" if name == "--version" else overview())
    elif verb in VERBS:
        sys.argv[1:] = arguments
        runpy.run_module(f"musicgen_jax.{verb}", run_name="__main__", alter_sys=True)
    else:
        print(f"error: no verb {name}{records.nearest(verb, VERBS)}; there are {', '.join(VERBS)}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
