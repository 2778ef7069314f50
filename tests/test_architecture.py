"""The house rules that a program can check: which way the imports go, and how long files and functions get."""

import ast
import pathlib
import re

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "musicgen_jax"
FILES = [
    path
    for name in ("musicgen_jax", "configs", "launch", "benchmarks", "tests")
    for path in (REPOSITORY / name).rglob("*.py")
]

# Room (folder or root module) -> the rooms, or modules of rooms, that it may import besides itself. Root modules that
# the table does not name are entry points: they may import everything but each other.
MAY_IMPORT = {
    "runtime": set(),
    "command_line": {"config", "training.metrics"},
    "config": set(),
    "audio": set(),
    "ddsp": set(),
    "sharding": {"config"},
    "nn": {"sharding"},
    "transformer": {"config", "sharding", "nn.parameters", "nn.tables"},
    "data": {"config", "sharding", "ddsp"},
    "codes": {"config", "sharding", "data"},
    "quantizers": {"config", "nn.parameters"},
    "tokenizers": {
        *("config", "nn", "audio", "ddsp", "data", "codes", "sharding", "quantizers"),
        *("training.state", "training.precision"),
    },
    "conditions": {"config", "nn", "sharding", "transformer"},
    "priors": {
        *("config", "codes.layout", "codes.patterns", "data.labels", "nn", "sharding", "transformer", "conditions"),
        *("training.state", "training.precision"),
    },
    "training": {"config", "nn", "sharding"},
    "sampling": {
        *("config", "nn", "sharding", "transformer", "data", "codes", "tokenizers", "training.rng"),
        *("conditions", "priors"),
    },
    "evaluation": {"config", "audio", "data", "codes", "tokenizers", "priors", "sampling", "training.metrics"},
    "compression": {
        *("config", "nn", "sharding", "transformer", "priors", "data", "codes", "evaluation", "training"),
    },
    "kinds": {"config", "codes.layout", "nn", "sharding", "tokenizers", "priors", "diffusion", "training"},
    "pretrained": {
        *("config", "nn", "sharding", "tokenizers", "priors", "diffusion", "compression", "training", "kinds"),
    },
    "diffusion": {"config", "nn", "sharding", "conditions", "priors", "data", "codes", "sampling", "training"},
    "generation": {"config", "codes", "tokenizers", "priors", "pretrained", "sampling"},
    "planning": {"priors.jukebox_batch", "config", "nn", "sharding", "transformer", "codes", "kinds", "training"},
    "conversion": {"config", "nn", "priors", "kinds", "pretrained", "training.checkpointing"},
}


def imported(path: pathlib.Path) -> set[str]:
    """The package's own modules that a file imports, as dotted paths below the package."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write `from musicgen_jax...`, not a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {name.removeprefix("musicgen_jax.") for name in names if name.startswith("musicgen_jax.")}
    return found


def offences(place: str, names: set[str]) -> list[str]:
    """Imports of `place` that the table forbids."""
    entry_points = {path.stem for path in PACKAGE.glob("*.py")} - set(MAY_IMPORT)
    allowed = MAY_IMPORT.get(place)
    if allowed is None:
        return sorted(name for name in names if name.split(".")[0] in entry_points)
    own = {"runtime"} | ({place} if (PACKAGE / place).is_dir() else set())
    return sorted(
        name
        for name in names
        if name.split(".")[0] not in allowed | own and ".".join(name.split(".")[:2]) not in allowed
    )


def test_imports_go_one_way():
    found = []
    for path in PACKAGE.rglob("*.py"):
        place = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        assert path.parent == PACKAGE or place in MAY_IMPORT, f"{place}/ is new: give it a line in MAY_IMPORT"
        found += [f"{path.relative_to(REPOSITORY)} imports {name}" for name in offences(place, imported(path))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("place", "name", "allowed"),
    [
        ("training", "priors.prior", False),
        ("training", "training.step", True),
        ("sampling", "training.rng", True),
        ("sampling", "training.loop", False),
        ("config", "sharding.rules", False),
        ("train_prior", "training.loop", True),
        ("train_prior", "train_vqvae", False),
    ],
)
def test_the_test_sees_offences(place, name, allowed):
    assert (offences(place, {name}) == []) == allowed


def test_the_table_has_no_circles():
    for place, allowed in MAY_IMPORT.items():
        for other in allowed:
            assert place not in MAY_IMPORT[other.split(".")[0]]


def test_only_tokenizers_know_how_many_streams_of_codes_there_are():
    assert not [str(path) for path in PACKAGE.rglob("*.py") if re.search(r"\bTIER(S|_ABOVE)\b", path.read_text())]


def test_files_have_at_most_400_lines():
    assert FILES
    lengths = {str(path.relative_to(REPOSITORY)): len(path.read_text().splitlines()) for path in FILES}
    assert not {name: lines for name, lines in lengths.items() if lines > 400}


def test_functions_have_at_most_60_lines_and_rarely_more_than_40():
    lengths = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lengths[f"{path.relative_to(REPOSITORY)}:{node.lineno} {node.name}"] = node.end_lineno - node.lineno + 1
    assert not {name: lines for name, lines in lengths.items() if lines > 60}
    long = {name: lines for name, lines in lengths.items() if lines > 40}
    assert len(long) <= 0.02 * len(lengths), long


def test_files_of_tests_have_names_of_their_own():
    """pytest imports them by name from all folders: two of a name, a second conftest.py too, hide one another."""
    names = [path.name for path in (REPOSITORY / "tests").rglob("*.py")]
    assert sorted(names) == sorted(set(names))
