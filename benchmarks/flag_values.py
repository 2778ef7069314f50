"""What benchmarks ask of their flags, before the long work."""

from absl import flags

from musicgen_jax import config


def require_positive(*holders: flags.FlagHolder[int]) -> None:
    """Raises UserError for the first whole number below 1."""
    for flag in holders:
        config.require(flag.value >= 1, f"--{flag.name}={flag.value}: must be at least 1")


def whole_numbers(flag: flags.FlagHolder[list[str]]) -> list[int]:
    """The numbers of a list.

    Raises:
      UserError: one is no whole number from 1, or there is none.
    """
    written = ",".join(flag.value)
    fits = bool(flag.value) and all(number.isdecimal() and int(number) >= 1 for number in flag.value)
    config.require(fits, f"--{flag.name}={written}: must be whole numbers, at least 1 each")
    return [int(number) for number in flag.value]
