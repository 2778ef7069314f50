"""The benchmark's lines at the smallest size, against counts by hand."""

import json

import pytest
import tiny_workdirs


@pytest.fixture(scope="module")
def computed(benchmark):
    return lines_of(benchmark("minute", "--scales=tiny", "--seconds=2", "--steps=4,2"))


def lines_of(done):
    """{(way, steps): line}."""
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(one["benchmark"] == "minute" and one["unit"] == "s" and one["value"] > 0 for one in found)
    return {(one["way"], one["steps"]): one for one in found}


def test_sequential_steps_by_hand(computed):
    # 2 s at 44.1 kHz are 689, 2756 and 11025 codes; contexts of 256 that move on by 128 begin with one pass each.
    by_tier = computed["autoregressive", 0]["by_tier"]
    counts = {"top": 689, "middle": 2756, "bottom": 11025}
    for tier, count in counts.items():
        assert by_tier[tier]["sequential_steps"] == count + -(-(count - 256) // 128)
    parallel = computed["parallel_windows", 0]["by_tier"]
    assert parallel["top"] == by_tier["top"]
    assert [parallel[tier]["sequential_steps"] for tier in ("middle", "bottom")] == [256, 256]
    for steps in (4, 2):
        diffusion = computed["diffusion", steps]["by_tier"]
        assert [diffusion[tier]["sequential_steps"] for tier in ("middle", "bottom")] == [2 * steps, 2 * steps]
        assert diffusion["top"]["sequential_steps"] == 5 * steps


def test_operations_and_bytes(computed):
    """Three layers of width 128: 0.59 M weights in the blocks, 0.26 M in the logits, in float32."""
    by_tier = computed["autoregressive", 0]["by_tier"]
    weights = 4 * (3 * 128 * (4 * 128 + 2 * 512) + 128 * 2048)
    steps = by_tier["bottom"]["sequential_steps"]
    assert weights * steps < by_tier["bottom"]["bytes"] < 2 * weights * steps
    assert 2 * weights / 4 * 11025 < by_tier["bottom"]["flops"] < 2 * 2 * weights / 4 * 11025 * 2
    parallel = computed["parallel_windows", 0]["by_tier"]
    assert parallel["bottom"]["bytes"] < by_tier["bottom"]["bytes"] / 3
    one, two = (computed["diffusion", steps] for steps in (2, 4))
    assert two["flops"] == pytest.approx(2 * one["flops"])
    assert two["value"] == pytest.approx(2 * one["value"])


@pytest.mark.long
def test_measured(benchmark, tiny_tokenizer, tmp_path):
    tiny_workdirs.write(tmp_path / "demo", tiny_tokenizer)
    tiny_workdirs.write_diffusion(tmp_path / "fast", tiny_tokenizer, "middle")
    flags = [f"--demo={tmp_path}/demo", f"--diffusion={tmp_path}/fast", "--measured_seconds=0.5", "--rounds=1"]
    measured = lines_of(benchmark("minute", "--scales=", "--seconds=2", "--steps=4,2", *flags))
    assert all(one["measured"] for one in measured.values())
    assert set(measured) == {("autoregressive", 0), ("parallel_windows", 0), ("diffusion", 4), ("diffusion", 2)}
    for one in measured.values():
        assert one["value"] == pytest.approx(sum(tier["seconds"] for tier in one["by_tier"].values()))
        assert list(one["by_tier"]) == ["top", "middle"]
        assert one["tiers_by_diffusion"] == (["middle"] if one["way"] == "diffusion" else [])


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--seconds=0", "--seconds=0.0: must be greater than 0"),
        ("--steps=8,0", "--steps=8,0: must be whole numbers, at least 1 each"),
        ("--chip=abacus", "chip 'abacus': must be one of"),
        ("--diffusion=fast", "--diffusion=fast: goes with --demo"),
        ("--hop_fraction=2", "--hop_fraction=2.0: must be in (0, 1]"),
    ],
)
def test_a_bad_flag_is_one_line(benchmark, flag, message):
    done = benchmark("minute", "--scales=tiny", flag)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and message in done.stderr


def test_a_folder_without_diffusion_models(benchmark, tmp_path):
    done = benchmark("minute", "--scales=tiny", "--demo=unread", f"--diffusion={tmp_path}")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(f"error: --diffusion={tmp_path}: holds none of top, middle, bottom: pass")
