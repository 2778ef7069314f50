"""The flag --noverify of the commands that load weights. Imports nothing heavy: it is there before flags are parsed."""

from absl import flags

_VERIFY = flags.DEFINE_bool(
    "verify", True, "Compare weights with the digests stored beside them; --noverify takes damaged ones without a word."
)


def wanted() -> bool:
    """What the command line says; in Python, where there is none, True."""
    return _VERIFY.value if flags.FLAGS.is_parsed() else True
