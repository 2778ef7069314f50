"""The flag --noverify of the commands that load weights. Imports nothing heavy: flags come before all that is."""

from absl import flags

NAME = "verify"
flags.disclaim_key_flags()  # what `define` defines is its caller's


def define() -> None:
    """Defines the flag."""
    flags.DEFINE_bool(
        NAME, True, "Compare weights with the digests stored with them; --noverify loads damaged ones without a word."
    )


def wanted() -> bool:
    """What the command line says; True where there is none that speaks of it, as in Python."""
    return flags.FLAGS[NAME].value if NAME in flags.FLAGS and flags.FLAGS.is_parsed() else True
