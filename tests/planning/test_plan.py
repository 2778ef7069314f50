"""The plan of small runs, for fake devices and for TPUs that are not there."""

import dataclasses
import json
import math

import jax
import pytest
import tiny_runs
import tiny_scores

from configs import prior
from musicgen_jax import config
from musicgen_jax.planning import advice, compilation, memory, plan, workload
from musicgen_jax.sharding import meshes


def prior_run(**model: object) -> config.PriorTraining:
    return config.PriorTraining(
        model=dataclasses.replace(tiny_runs.prior_config("top"), **model), data=config.DataConfig(batch_size=8)
    )


@pytest.fixture(scope="module")
def found() -> dict:
    return plan.plan(prior_run(), plan.Question("h100:8"))


def test_keys_that_other_programs_read(found):
    assert json.loads(json.dumps(found)) == found
    for key in ("parameters", "hbm_bytes_per_chip", "flops_per_step_per_chip", "step_seconds", "share_of_peak"):
        assert found[key] > 0
    assert found["fits"] is True
    assert found["estimate"] is True
    assert found["change"] == []
    assert found["bound"] in ("compute", "hbm", "interconnect")
    assert found["step_seconds"] == max(found["seconds_at_peak"].values())
    assert {"parameters", "optimizer", "gradients", "activations", "temporaries", "peak"} <= set(
        found["bytes_per_chip"]
    )


def test_as_many_chips_as_divide(found):
    assert found["mesh"] == {"replica": 1, "data": 1, "fsdp": 8, "tensor": 1}
    assert set(found["collective_bytes_per_chip"]) == {"fsdp"}


@pytest.mark.long
def test_warns_of_heads_that_the_mesh_does_not_divide(found):
    assert found["warnings"] == []
    run = prior_run(transformer=dataclasses.replace(prior_run().model.transformer, num_heads=3))
    run = dataclasses.replace(run, mesh=config.MeshConfig(tensor=2))
    (sentence,) = plan.plan(run, plan.Question("h100:8"))["warnings"]
    assert "transformer.num_heads=3 is no multiple of mesh.tensor=2" in sentence


@pytest.mark.long
def test_replicas_are_slices():
    found = plan.plan(prior_run(), plan.Question("v100:4", num_slices=2, sequences_per_chip=2))
    assert found["mesh"] == {"replica": 2, "data": 1, "fsdp": 4, "tensor": 1}
    assert found["batch_size"] == 16
    assert "replica" in "".join(found["collective_bytes_per_chip"])


def test_state_is_counted_as_it_lies():
    work = workload.workload(prior_run())
    mesh = meshes.make_mesh(config.MeshConfig(fsdp=4, tensor=2), jax.devices()[:8])
    abstract = compilation.abstract_state(work, mesh)
    whole = sum(leaf.size * 4 for leaf in jax.tree.leaves(abstract.params))
    lying = memory.bytes_per_chip(abstract.params)
    assert whole / 8 < lying < whole / 4
    qkv = abstract.params["stack"]["layers"]["attention"]["qkv"]
    assert memory.bytes_per_chip(qkv) == qkv.size * 4 / 8
    optimizer = memory.bytes_per_chip(abstract.opt_state)
    assert optimizer == pytest.approx(2 * lying, rel=0.01)


@pytest.mark.parametrize(
    ("tier", "rate", "sizes"),
    [("top", 44_100 / 128, (1, 2048)), ("bottom", 44_100 / 8, (1, 2048)), ("residual", 50.0, (4, 2048))],
)
def test_the_prior_of_any_stream_has_stand_ins(tier, rate, sizes):
    run = prior.get_config(f"tier={tier},scale=tiny")
    work = workload.workload(run)
    model = work.run.model
    assert (model.num_codebooks, model.num_codes) == sizes and model.codes_per_second == rate
    assert work.tokens == run.data.batch_size * model.context * sizes[0]
    assert work.task.batch["codes"].shape == (run.data.batch_size, model.context, sizes[0])
    assert ("above" in work.task.batch) == (tier == "bottom")


def test_the_config_itself_may_say_how_many_codes_there_are():
    run = prior.get_config("tier=residual,scale=tiny")
    run.model.num_codes, run.model.num_codebooks = 1024, 9
    model = workload.workload(run).run.model
    assert (model.num_codebooks, model.num_codes) == (9, 1024)


def test_a_stream_that_no_tokenizer_has():
    with pytest.raises(ValueError, match=r"tier='left': no tokenizer has such a stream.*top, middle, bottom, residual"):
        workload.resolve(prior_run(tier="left").model)


@pytest.mark.parametrize(("tokens", "vocabulary"), [("grid", 42), ("performance", 388)])
def test_composers_are_planned_without_scores(tokens, vocabulary):
    work = workload.workload(config.ComposerTraining(model=tiny_scores.model_config(tokens, num_codes=2048)))
    assert work.run.model.num_codes == vocabulary
    assert work.tokens == work.run.data.batch_size * 64 and work.flops.model > 0
    assert ("position" in work.task.batch) == (tokens == "grid")


@pytest.mark.long
def test_the_prior_of_a_residual_tokenizer():
    found = plan.plan(prior.get_config("tier=residual,scale=tiny"), plan.Question("h100:1"))
    assert found["fits"] is True
    assert found["tokens_per_step"] == 8 * 256 * 4


def test_activations_shrink_with_remat():
    def kept(remat: str) -> int:
        transformer = dataclasses.replace(tiny_runs.prior_config().transformer, remat=remat, attention="reference")
        work = workload.workload(prior_run(transformer=transformer))
        mesh = meshes.make_mesh(config.MeshConfig(), jax.devices()[:8])
        return memory.activation_bytes(work, compilation.abstract_state(work, mesh), mesh)

    inputs = 2 * 32 * 16 * 4  # of both blocks, [1, 32, 16] float32
    assert inputs <= kept("full") < kept("dots") < kept("none")


def test_what_does_not_fit_says_what_to_change(monkeypatch):
    monkeypatch.setattr(compilation, "compile_step", lambda *_: compilation.Compiled(2**40, "Ran out of memory", ""))
    run = prior_run()
    run.mesh = config.MeshConfig(fsdp=2)
    found = plan.plan(run, plan.Question("h100:8"))
    assert found["fits"] is False
    assert found["out_of_memory"] == "Ran out of memory"
    assert found["collective_bytes_per_chip"] is None
    assert found["change"][0].startswith("--config.mesh.fsdp=8")
    assert any("state_dtype=bfloat16" in change for change in found["change"])


def test_every_flag_that_is_advised_exists():
    transformer = dataclasses.replace(tiny_runs.prior_config().transformer, remat="none", attention="reference")
    run = prior_run(transformer=transformer)
    run.mesh = config.MeshConfig(tensor=2)
    run.training.ema_decay, run.data.batch_size = 0.9, 64
    work = workload.workload(run)
    remedies = advice.remedies(work, meshes.make_mesh(run.mesh, jax.devices()[:8]), 4)
    settings = [remedy.split(":")[0].split("=")[0] for remedy in remedies if remedy.startswith("--config.")]
    assert len(settings) >= 8
    for setting in settings:
        owner = run
        for name in setting.removeprefix("--config.").split("."):
            owner = getattr(owner, name)


def test_bytes_used():
    message = "Ran out of memory in memory space hbm. Used 20.46G of 15.75G hbm. Exceeded hbm capacity by 4.71G."
    assert compilation.bytes_used(message, 1000) == round(20.46 * 2**30)
    message = (
        "Ran out of memory on HBM, the memory required for HLO temporaries (42.42G) exceeds available HBM (15.75G)."
    )
    assert compilation.bytes_used(message, 1000) == round(42.42 * 2**30) + 1000
    assert compilation.bytes_used("no such thing", 1000) is None


@pytest.mark.parametrize(
    ("question", "settings", "message"),
    [
        (plan.Question("h100:7"), {}, "batch_size=8 must be divisible by replica x data x fsdp = 7"),
        (plan.Question("h100:8"), {"fsdp": 3}, "does not cover 8 devices"),
        (plan.Question("h100:8", num_slices=0), {}, "num_slices=0: must be at least 1"),
    ],
)
def test_bad_input(question, settings, message):
    run = prior_run()
    run.mesh = config.MeshConfig(**settings)
    with pytest.raises(ValueError, match=message):
        plan.plan(run, question)


@pytest.mark.long
def test_vqvae():
    run = config.VQVAETraining(model=tiny_runs.vqvae_config(), clip_samples=512, data=config.DataConfig(batch_size=8))
    found = plan.plan(run, plan.Question("a100:8"))
    assert found["tokens_per_step"] == 8 * 512
    assert found["flops_per_step_per_chip"] > 3 * 512 * 1000
    assert found["recomputed_flops_per_step_per_chip"] == 0


@pytest.mark.slow
def test_tpu_compiler():
    pytest.importorskip("libtpu", reason="the TPU compiler is not installed")
    transformer = config.TransformerConfig(
        num_layers=2, width=256, num_heads=2, head_dim=128, mlp_width=256, attention="blocked"
    )
    run = prior_run(context=1024, transformer=transformer, num_codes=512)
    run.training.compute_dtype = "bfloat16"
    found = plan.plan(run, plan.Question("v5e:2x2", num_slices=2))
    assert found["estimate"] is False
    assert found["fits"] is True
    assert found["mesh"] == {"replica": 2, "data": 1, "fsdp": 4, "tensor": 1}
    assert 2**20 < found["bytes_per_chip"]["peak"] < 2**30
    traffic = found["collective_bytes_per_chip"]
    weights = 2 * found["parameters"]
    assert weights < traffic["fsdp"] < 12 * weights
    assert any("replica" in axes for axes in traffic)
    assert math.isfinite(found["checkpoints"]["best_interval_seconds"])
