"""Checks command lines that documentation, a notebook or a message names, without running them."""

import functools
import pathlib
import re

from musicgen_jax import __main__ as dispatcher
from musicgen_jax import config
from musicgen_jax.command_line import config_flag, model_flags
from musicgen_jax.sampling import options

PACKAGE = pathlib.Path(dispatcher.__file__).parent


@functools.cache
def flags_of(verb: str) -> set[str]:
    """Names of the flags that a verb defines."""
    assert verb in dispatcher.VERBS, verb
    source = (PACKAGE / f"{verb}.py").read_text()
    found = set(re.findall(r'(?:DEFINE_\w+|define_path)\(\s*"(\w+)"', source))
    if "model_flags.define" in source:
        found |= {"vqvae", "tokenizer"}
    if "model_flags.define_all(" in source:
        found |= {*model_flags.NAMED, "prior", "model", "base"}
    if "option_flags.define(" in source:
        found |= {option.flag_name for option in options.OPTIONS}
    return found | ({"config"} if "config_flag.define(" in source else set())


def check(verb: str, arguments: list[str]) -> None:
    """Fails where the verb has no such flag, or the config no such field."""
    # What goes on from a model has its config.
    run = config.PriorTraining() if any(argument.startswith("--init=") for argument in arguments) else None
    for argument in arguments:
        name, _, value = argument.removeprefix("--").partition("=")
        assert argument.startswith("--") and name.split(".")[0] in flags_of(verb), f"{verb} {argument}"
        if name == "config":
            file, _, chosen = value.partition(":")
            run = config_flag.load(file, chosen)
        elif name.startswith("config."):
            owner = run
            for field in name.split(".")[1:]:
                assert hasattr(owner, field), f"{verb} {argument}"
                owner = getattr(owner, field)
