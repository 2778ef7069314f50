"""Guidance in one row: what a student is at first, what it learns, and how it samples."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_musicgen
import tiny_priors

from musicgen_jax import config, kinds
from musicgen_jax.compression import guiding
from musicgen_jax.nn import modules
from musicgen_jax.priors import trained
from musicgen_jax.runtime.errors import UserError
from musicgen_jax.sampling import decode, logit_filters
from musicgen_jax.training import state

SIZE, MOST = 4, 3.0


def taught(teacher: trained.TrainedPrior, run: config.PriorTraining) -> tuple[state.Task, modules.Tree]:
    """(task, first parameters) of a student of this teacher; `run` is given its config."""
    run.model = guiding.guided(teacher, (), MOST)
    run.data.batch_size = SIZE
    student = kinds.task(run)
    return guiding.task(student, teacher.functional), guiding.begun(teacher.weights[0], student.functional)


@pytest.fixture(scope="module")
def of_text():
    """(teacher, task, first parameters, batch), guided by captions."""
    teacher = tiny_musicgen.trained(tiny_musicgen.model_config(num_layers=1))
    run = config.MusicgenTraining()
    return teacher, *taught(teacher, run), tiny_musicgen.batch(teacher.config, size=SIZE), run.model


@jax.jit
def guided_logits(told, untold, guidance):
    return jax.nn.log_softmax(untold + guidance[:, None, None, None] * (told - untold))


def student_logits(task: state.Task, params: modules.Tree, batch: dict, guidance: np.ndarray) -> np.ndarray:
    bind = task.functional._student.bind
    logits = jax.jit(lambda params, batch: bind(params, {})(batch))
    return np.asarray(logits(params, batch | {"guidance": guidance.astype(np.float32)}))


@pytest.mark.long
def test_a_student_begins_as_its_teacher(of_text):
    teacher, task, params, batch, model = of_text
    assert model.guided_by == ("text",) and model.most_guidance == MOST
    expected = tiny_musicgen.logits(teacher, batch)
    for guidance in (np.ones(SIZE), np.linspace(1, MOST, SIZE)):
        np.testing.assert_array_equal(student_logits(task, params, batch, guidance), expected)
    levels = params["conditions"]["guidance"]["levels"]
    levels = np.random.default_rng(0).normal(size=levels.shape).astype(np.float32)
    params = params | {"conditions": params["conditions"] | {"guidance": {"levels": levels}}}
    unsaid = np.asarray(jax.jit(lambda params: task.functional._student.bind(params, {})(batch))(params))
    once = student_logits(task, params, batch, np.ones(SIZE))
    np.testing.assert_array_equal(once, unsaid)  # what nobody says is 1
    twice = student_logits(task, params, batch, np.full(SIZE, 2))
    assert np.abs(once - expected).max() > 0.1 and np.abs(twice - once).max() > 0.1


@pytest.mark.long
@pytest.mark.parametrize("kind", ["musicgen", "prior"])
def test_it_learns_what_two_rows_give(of_text, kind):
    """The loss is the divergence that it says, and falls."""
    if kind == "musicgen":
        teacher, task, params, batch, _ = of_text
        untold = tiny_musicgen.untold(batch)
    else:
        several = {"num_codebooks": 2, "num_layers": 1, "label_dropout": 0.2, "loss_chunk": 5}
        teacher = tiny_priors.trained_prior(tiny_priors.model_config(**several))
        params = teacher.weights[0]
        params["labels"]["genre"] *= 10  # else it is hardly heard
        params["logits"] *= 4
        task, params = taught(teacher, config.PriorTraining())
        batch = tiny_priors.batch(teacher.config, SIZE)
        batch["labels"] = tiny_priors.labels(genre=[1, 2, 1, 2])
        untold = batch | {"labels": np.zeros_like(batch["labels"])}
    batch["mask"][1, 4:] = False

    def loss_of(params, key, train=False):
        pair = task.functional.bind(task.functional.whole(params, teacher.weights[0]), {})
        return task.loss(pair, batch, key, train)[0]

    stream, key = 0x6D1DE, jax.random.key(0)
    guidance = np.asarray(jax.random.uniform(jax.random.fold_in(key, stream), (SIZE,), minval=1, maxval=MOST))
    told, without = (tiny_musicgen.logits(teacher, arrays) for arrays in (batch, untold))
    targets = guided_logits(told, without, guidance)
    found = jax.nn.log_softmax(student_logits(task, params, batch, guidance))
    nats = optax.losses.kl_divergence_with_log_targets(found, targets)[batch["mask"]].mean()
    before = float(jax.jit(loss_of)(params, key))
    assert before == pytest.approx(float(nats), rel=1e-4) and before > 0.02

    tx = optax.adam(1e-2)

    @jax.jit
    def learn(params):
        def step(carry, index):
            params, opt_state = carry
            key = jax.random.fold_in(jax.random.key(1), index)
            gradient = jax.grad(loss_of)(params, key, True)
            updates, opt_state = tx.update(gradient, opt_state)
            return (optax.apply_updates(params, updates), opt_state), None

        return jax.lax.scan(step, (params, tx.init(params)), jnp.arange(150))[0][0]

    assert jax.jit(loss_of)(learn(params), key) < 0.3 * before


@pytest.mark.long
def test_it_samples_in_one_row(of_text):
    _, task, params, batch, model = of_text
    rng = np.random.default_rng(1)
    levels = rng.normal(size=params["conditions"]["guidance"]["levels"].shape).astype(np.float32)
    params = params | {"conditions": params["conditions"] | {"guidance": {"levels": levels}}}
    settings = logit_filters.Settings(
        temperature=np.ones((SIZE, model.context), np.float32),
        top_p=np.ones(SIZE, np.float32),
        top_k=np.ones(SIZE, np.int32),
        guidance=np.full(SIZE, 2.5, np.float32),
    )
    sample = decode.make_sample_window(task.functional._student, guide_by=("text",))
    rows = []
    sample._begin, begin = lambda *args, **how: rows.append(begin(*args, **how)) or rows[-1], sample._begin
    zero, whole = np.zeros(SIZE, np.int32), np.full(SIZE, model.context, np.int32)
    keys = jax.random.split(jax.random.key(0), SIZE)
    codes = np.asarray(sample((params, {}), batch, zero, whole, keys, zero, settings))
    assert {len(leaf) for leaf in jax.tree.leaves((rows[0][0].condition, rows[0][1]))} == {SIZE}
    predicted = student_logits(task, params, batch | {"codes": codes}, settings.guidance).argmax(axis=-1)
    np.testing.assert_array_equal(predicted, codes)
    unguided = student_logits(task, params, batch | {"codes": codes}, np.ones(SIZE)).argmax(axis=-1)
    assert (unguided != codes).any()


def test_what_it_is_not_taught_is_said():
    teacher = tiny_priors.trained_prior(tiny_priors.model_config(label_dropout=0.1))
    for most in (1.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match=f"most_guidance={most}: must be more than 1"):
            guiding.guided(teacher, (), most)
    with pytest.raises(UserError, match="was never trained without timing"):
        guiding.guided(teacher, ("labels", "timing"), 3.0)
    model = guiding.guided(teacher, (), 3.0)
    student = dataclasses.replace(teacher, config=model)
    student.require_guidance(3.0, ("labels",))
    student.require_guidance(1.0, ("text",))
    with pytest.raises(UserError, match=r"guidance=3.5: the top prior was taught guidance by labels .* from 1 to 3"):
        student.require_guidance(3.5, ("labels",))
    with pytest.raises(UserError, match=r"guide_by=labels,timing: .* use labels"):
        student.require_guidance(2.0, ("labels", "timing"))
    with pytest.raises(UserError, match=r"model.guided_by=labels: training on would forget guidance"):
        config.PriorTraining(model=model, data=config.DataConfig(path="codes")).validate()
