"""The wheel: what travels in it, and that it works in an environment of its own, outside the repository."""

import json
import pathlib
import subprocess
import zipfile

import clean_environment
import pytest

import musicgen_jax

REPOSITORY = clean_environment.REPOSITORY
PAGES = ("report_template.html", "comparison_template.html", "data_page.html", "page_head.html", "page_style.css")
SCRIPTS = ("page_players.js",)


def test_the_citation_and_the_changelog_know_the_version():
    assert f"version: {musicgen_jax.__version__}\n" in (REPOSITORY / "CITATION.cff").read_text()
    assert f"## {musicgen_jax.__version__}\n" in (REPOSITORY / "CHANGELOG.md").read_text()
    licence = (REPOSITORY / "LICENSE").read_text()
    assert "Apache License" in licence and "END OF TERMS AND CONDITIONS" in licence


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    sources = clean_environment.copy_sources(tmp_path_factory.mktemp("sources") / "clone")
    out = tmp_path_factory.mktemp("wheel")
    clean_environment.pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(out), str(sources))
    (path,) = out.glob("*.whl")
    return path


@pytest.mark.slow
def test_what_travels_in_it(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    modules = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "musicgen_jax").rglob("*.py")}
    modules |= {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "musicgen_jax/listening").glob("page/*.*")}
    configs = {f"musicgen_jax/configs/{path.name}" for path in (REPOSITORY / "configs").glob("*.py")}
    assert modules | configs | {f"musicgen_jax/evaluation/{name}" for name in PAGES + SCRIPTS} <= names
    assert not [name for name in names if name.startswith(("tests", "benchmarks", "build"))]
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "License-Expression: Apache-2.0\n" in metadata and "Description-Content-Type: text/markdown\n" in metadata


@pytest.mark.slow
def test_it_works_outside_the_repository(wheel, tmp_path):
    programs = clean_environment.make(tmp_path / "environment", wheel)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    def run(*command: str) -> subprocess.CompletedProcess:
        path = [str(programs / command[0]), *command[1:]]
        environment = clean_environment.environment(JAX_PLATFORMS="cpu")
        return subprocess.run(path, cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=300)

    where = run("python", "-c", "import musicgen_jax; print(musicgen_jax.__file__)")
    assert where.stdout.startswith(str(tmp_path / "environment")), "the test must not see the repository"
    assert run("musicgen-jax", "--version").stdout == f"musicgen_jax {musicgen_jax.__version__}\n"
    for overview in (run("musicgen-jax", "--help"), run("musicgen-jax"), run("python", "-m", "musicgen_jax")):
        assert overview.returncode == 0 and "train_vqvae" in overview.stdout
    planned = run("musicgen-jax", "plan", "--config=configs/prior.py:tier=top,scale=tiny", "--topology=h100:1")
    assert planned.returncode == 0, planned.stderr
    assert json.loads(planned.stdout)["fits"] is True
    start = f"next: {programs / 'musicgen-jax'} train_prior --config=configs/prior.py:tier=top,scale=tiny "
    assert planned.stderr.splitlines()[-1].startswith(start)
    program = f"from musicgen_jax.evaluation import page; print(all(len(page._text(name)) > 500 for name in {PAGES}))"
    pages = run("python", "-c", program)
    assert pages.stdout == "True\n", pages.stderr
