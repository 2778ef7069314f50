"""Listening tests in a browser: prepares a study, serves it, and says what the answers show.

    python -m musicgen_jax.listen --design=ab --systems=ours=DIR,theirs=DIR --out=STUDY       clips of equal file names

    python -m musicgen_jax.listen --serve=STUDY --port=8000                                   prints a link a listener

Designs: mushra (how near do systems come to the --reference), mos (how good is each clip by itself), abx (can two
systems be told apart), ab (which one is preferred). docs/listening.md tells a study from two folders to a figure.
"""

from absl import flags

from musicgen_jax.command_line import cli
from musicgen_jax.runtime import console, files
from musicgen_jax.runtime.errors import UserError

_DESIGN = flags.DEFINE_enum("design", None, ["mushra", "mos", "abx", "ab"], "Prepares a study of this kind.")
_SYSTEMS = flags.DEFINE_list("systems", [], "Of --design: NAME=FOLDER,NAME=FOLDER with the clips of each system.")
_REFERENCE = cli.define_path("reference", "", "Of --design: folder of the originals, which mushra needs.")
_TITLE = flags.DEFINE_string("title", "Listening test", "Of --design: what listeners read above the pages.")
_CONSENT = cli.define_path("consent", "", "Of --design: text file that listeners agree to; by default a general one.")
_SEED = flags.DEFINE_integer("seed", 0, "Of --design: of orders and choices.", lower_bound=0)
_HEADPHONES = flags.DEFINE_bool("headphones", True, "Of --design: begin with a check for headphones.")
_MAX_SECONDS = flags.DEFINE_float("max_seconds", 12.0, "Of --design: the longest clip that is taken.")
_OUT = cli.define_path("out", "", "Of --design: folder for the study.", writes=True)
_SERVE = cli.define_path("serve", "", "Serves the study in this folder, until Ctrl-C.")
_HOST = flags.DEFINE_string("host", "127.0.0.1", "Of --serve: address of this machine to listen on.")
_PORT = flags.DEFINE_integer("port", 8000, "Of --serve; 0 takes a free one.", lower_bound=0, upper_bound=65535)
_URL = flags.DEFINE_string("url", "", "Of --serve: how links begin, where listeners come by another name or a proxy.")
_LISTENERS = flags.DEFINE_integer("listeners", None, "Number of links, 20 by default; --serve adds those that lack.")


def main() -> None:
    """Flags -> one call."""
    modes = {"design": _prepare, "serve": _serve}
    given = [name for name in modes if flags.FLAGS[name].value]
    if len(given) != 1:
        raise UserError(f"one of {', '.join(f'--{name}' for name in modes)} says what to do; {len(given)} are given")
    modes[given[0]]()


def _prepare() -> None:
    from musicgen_jax.listening import preparation

    if not _OUT.value:
        raise UserError("--design needs --out: a folder for the study")
    settings = preparation.Settings(
        design=_DESIGN.value,
        systems=preparation.parse_systems(_SYSTEMS.value),
        reference=_REFERENCE.value,
        title=_TITLE.value,
        consent=files.read_text(_CONSENT.value) if _CONSENT.value else preparation.CONSENT,
        seed=_SEED.value,
        headphones=_HEADPHONES.value,
        max_seconds=_MAX_SECONDS.value,
    )
    number = preparation.LISTENERS if _LISTENERS.value is None else _LISTENERS.value
    made = preparation.prepare(settings, _OUT.value, number)
    for name, reason in made.absent.items():
        console.say(f"no {name}: {reason}")
    kinds = [trial.kind for trial in made.trials]
    console.say(
        f"{_OUT.value}: {made.design}, {kinds.count('test')} trials, {kinds.count('attention')} attention checks"
    )
    console.say_next("listen", {"serve": _OUT.value, "port": str(_PORT.value)})


def _serve() -> None:
    from musicgen_jax.listening import serving

    serving.serve(_SERVE.value, _HOST.value, _PORT.value, _URL.value, _LISTENERS.value)


if __name__ == "__main__":
    cli.run(main)
