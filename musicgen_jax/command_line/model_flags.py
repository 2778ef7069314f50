"""The flags that name trained models: a tokenizer, and the priors of its streams of codes."""

from collections.abc import Mapping

from absl import flags

from musicgen_jax.command_line import cli
from musicgen_jax.config import require
from musicgen_jax.runtime import files

NAMED = ("top", "middle", "bottom")  # streams that have a flag of their name

flags.disclaim_key_flags()  # what is defined here is the caller's


def define_tokenizer(more: str = "") -> None:
    """Defines --vqvae and its other name, --tokenizer; `more` ends the help."""
    cli.define_path("vqvae", "", f"Workdir of the tokenizer, as train_vqvae or convert wrote it.{more}")
    cli.define_path("tokenizer", "", "The same as --vqvae.")


def define_all() -> None:
    """Defines flags for a tokenizer, for priors (--top and so on, --prior=STREAM:DIR), and --model=DIR for all."""
    define_tokenizer()
    for name in NAMED:
        cli.define_path(name, "", f"Workdir of the {name} prior.")
    flags.DEFINE_multi_string("prior", [], "STREAM:DIR: workdir of the prior of any stream; may be repeated.")
    cli.define_path("base", "", "Workdir of the model that a prior's adapters were trained beside, where it has moved.")
    cli.define_path("model", "", "Folder that holds workdirs of a tokenizer and priors; the others count before it.")


def any_given() -> bool:
    """Whether a flag of `define_all` names a model."""
    return any(flags.FLAGS[name].value for name in (*NAMED, "prior", "model", "vqvae", "tokenizer"))


def tokenizer() -> str:
    """The tokenizer's workdir. Raises UserError where none or two are given."""
    vqvae, same = (flags.FLAGS[name].value for name in ("vqvae", "tokenizer"))
    require(bool(vqvae or same), "Flag --vqvae must have a value.")
    require(not (vqvae and same), "--vqvae and --tokenizer are the same: pass one of them")
    return vqvae or same


def given() -> dict[str, str]:
    """The workdirs that the flags name, as arguments of `generation.load`.

    "vqvae" and streams have a workdir, "directory" the folder that holds those which are not named.

    Raises:
      UserError: there is no tokenizer, or something is named twice.
    """
    found = {name: flags.FLAGS[name].value for name in NAMED}
    for text in flags.FLAGS["prior"].value:
        name, _, path = text.partition(":")
        require(bool(name and path), f"--prior={text}: write a stream and a workdir: --prior=top:DIR")
        require(name not in ("vqvae", "tokenizer", "directory"), f"--prior={text}: {name} is no stream of codes")
        require(not found.get(name), f"--prior={text}: {name} is named twice")
        found[name] = str(files.path_or_copy(path, "prior"))
    if model := flags.FLAGS["model"].value:
        found["directory"] = model
    if not model or flags.FLAGS["vqvae"].value or flags.FLAGS["tokenizer"].value:
        found["vqvae"] = tokenizer()
    return {name: path for name, path in found.items() if path}


def spelled(models: Mapping[str, str]) -> dict[str, str | list[str]]:
    """The flags that say "vqvae" and streams -> workdir, for `console.say_next`."""
    own = {name: path for name, path in models.items() if name in ("vqvae", *NAMED)}
    return own | {"prior": [f"{name}:{path}" for name, path in models.items() if name not in own and path]}
