"""Losses of a bank: groups, packing, sampling, distillation, frozen trees."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mpt_jax.data.batches import make_batch
from mpt_jax.data.packing import BatchLayout
from mpt_jax.model import losses
from mpt_jax.model.cpu.strategy import BySegments
from mpt_jax.model.network import T5
from mpt_jax.model.objective import DistillConfig, LossConfig, Model
from mpt_jax.model.plan import Dense
from mpt_jax.prompts.config import PromptConfig
from mpt_jax.prompts.kinds import compose_bank

P = 3
TEACHERS = PromptConfig(num_slots=3, prompt_length=P, rank=0)


@functools.partial(jax.jit, static_argnames="model")
def _loss(model, trainable, frozen, batch):
  return model.loss(trainable, frozen, batch)


@functools.partial(jax.jit, static_argnames="model")
def _grad(model, trainable, frozen, batch):
  return jax.grad(lambda t: model.loss(t, frozen, batch)[0])(trainable)


@functools.partial(jax.jit, static_argnames=("network", "all_hidden"))
def _apply(network, params, batch, all_hidden=False):
  return network.apply({"params": params}, batch, all_hidden=all_hidden)


def _batch(examples, pack=True, num_slots=3, **settings):
  config = BatchLayout(
    inputs_length=10,
    targets_length=6,
    prompt_length=P,
    num_slots=num_slots,
    pack=pack,
    **settings,
  )
  return make_batch(examples, config)[0]


@pytest.fixture(scope="module")
def student(make_config, make_params):
  """(model, trainable, frozen): three slots share one P*."""
  config = make_config(num_encoder_layers=1, num_decoder_layers=1)
  model = Model(config, PromptConfig(num_slots=3, prompt_length=P))
  return model, *model.split_params(make_params(model))


@pytest.fixture(scope="module")
def distilling(student):
  """The same with teachers of its own, made(**DistillConfig's changes)."""
  model, trainable, frozen = student
  rng = np.random.default_rng(7)
  teacher = rng.normal(0.0, 0.5, (3, P, 16)).astype(np.float32)
  frozen = {**frozen, "teacher_prompt": {"shared_prompt": teacher}}

  def make(**changes):
    config = LossConfig(distill=DistillConfig(**changes))
    return (
      dataclasses.replace(model, teacher_config=TEACHERS, loss_config=config),
      trainable,
      frozen,
    )

  return make


def test_loss_is_the_mean_over_target_tokens(student, make_examples):
  model, trainable, frozen = student
  batch = _batch(make_examples(5, 3), pack=False)
  total, metrics = _loss(model, trainable, frozen, batch)
  params = {**frozen, **trainable}
  logits = _apply(model.network, params, batch).logits
  nll = optax.softmax_cross_entropy_with_integer_labels(
    logits, batch["decoder_target_tokens"]
  )
  real = batch["decoder_segment_ids"] > 0
  np.testing.assert_allclose(total, np.mean(nll[real]), rtol=1e-5)
  sums, counts = metrics["loss"]
  for task in range(3):
    at = real & (batch["decoder_slot_ids"] == task)
    np.testing.assert_allclose(sums[task], np.sum(nll[at]), rtol=1e-5)
    assert counts[task] == at.sum()


def test_packing_changes_no_loss_and_no_gradient(distilling, make_examples):
  case = distilling(hidden_layers="all")
  examples = make_examples(7, 3, seed=3)
  plain = _batch(examples, pack=False)
  packed = _batch(examples, row_length=40)
  assert packed["encoder_input_tokens"].shape[0] < 7
  (plain_loss, plain_terms), (packed_loss, packed_terms) = (
    _loss(*case, b) for b in (plain, packed)
  )
  np.testing.assert_allclose(packed_loss, plain_loss, rtol=1e-5)
  assert set(plain_terms) == {"loss", "kl", "hidden"}
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4),
    packed_terms,
    plain_terms,
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4),
    _grad(*case, packed),
    _grad(*case, plain),
  )


def test_factors_of_ones_equal_a_plain_shared_prompt(student, make_examples):
  model, trainable, frozen = student
  shared = trainable["prompt"]["shared_prompt"]
  ones = {
    "shared_prompt": shared,
    "task_columns": np.ones((3, P, 1), np.float32),
    "task_rows": np.ones((3, 1, 16), np.float32),
  }
  plain = dataclasses.replace(
    model,
    prompt_config=PromptConfig(
      num_slots=3, prompt_length=P, rank=0, groups=(0, 0, 0)
    ),
  )
  batch = _batch(make_examples(5, 3))
  found, _ = _loss(model, {"prompt": ones}, frozen, batch)
  expected, _ = _loss(
    plain, {"prompt": {"shared_prompt": shared}}, frozen, batch
  )
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_task_that_was_not_sampled_gets_a_zero_gradient(
  distilling, make_examples
):
  examples = [
    {**e, "slot_id": (0, 2)[e["slot_id"]]} for e in make_examples(6, 2)
  ]
  grads = jax.device_get(_grad(*distilling(), _batch(examples)))["prompt"]
  for name in ("task_columns", "task_rows"):
    assert np.all(grads[name][1] == 0), name
    assert np.all(np.abs(grads[name][[0, 2]]).max((1, 2)) > 1e-4), name
  assert np.abs(grads["shared_prompt"]).max() > 1e-4


def test_a_bank_of_groups_is_the_sum_of_separate_runs(
  make_config, make_params, make_examples
):
  # Tasks 0 and 2 are one group, task 1 another, with more tokens.
  groups = (0, 1, 0)
  config = make_config(num_encoder_layers=1, num_decoder_layers=1)
  model = Model(
    config, PromptConfig(num_slots=3, prompt_length=P, groups=groups)
  )
  trainable, frozen = model.split_params(make_params(model))
  examples = make_examples(9, 3, seed=6)
  batch = _batch(examples, row_length=40)
  total, _ = _loss(model, trainable, frozen, batch)
  grads = jax.device_get(_grad(model, trainable, frozen, batch))["prompt"]
  separate_total = 0.0
  for group, tasks in enumerate(((0, 2), (1,))):
    alone = dataclasses.replace(
      model, prompt_config=PromptConfig(num_slots=len(tasks), prompt_length=P)
    )
    part = {
      "shared_prompt": trainable["prompt"]["shared_prompt"][[group]],
      "task_columns": trainable["prompt"]["task_columns"][list(tasks)],
      "task_rows": trainable["prompt"]["task_rows"][list(tasks)],
    }
    own = [
      {**e, "slot_id": tasks.index(e["slot_id"])}
      for e in examples
      if e["slot_id"] in tasks
    ]
    own_batch = _batch(own, num_slots=len(tasks))
    loss, _ = _loss(alone, {"prompt": part}, frozen, own_batch)
    own_grads = _grad(alone, {"prompt": part}, frozen, own_batch)["prompt"]
    separate_total += loss
    close = functools.partial(np.testing.assert_allclose, atol=2e-5)
    close(grads["shared_prompt"][[group]], own_grads["shared_prompt"])
    for name in ("task_columns", "task_rows"):
      close(grads[name][list(tasks)], own_grads[name], err_msg=name)
  np.testing.assert_allclose(total, separate_total, rtol=1e-5)


def test_parts_of_a_batch_add_up_to_the_whole(distilling, make_examples):
  case = distilling()
  model = case[0]
  batch = _batch(make_examples(8, 3, seed=2), pack=False)
  whole = {**batch, **model.mean_weights(batch)}
  expected, terms = _loss(*case, batch)
  parts = [
    _loss(*case, {k: v[start::2] for k, v in whole.items()}) for start in (0, 1)
  ]
  np.testing.assert_allclose(parts[0][0] + parts[1][0], expected, rtol=1e-5)
  jax.tree.map(
    # A KL is a small difference of log-probabilities of the size of log(V),
    # so its float32 rounding is absolute.
    lambda a, b, c: np.testing.assert_allclose(a + b, c, rtol=1e-5, atol=5e-6),
    parts[0][1],
    parts[1][1],
    terms,
  )
  grads = [
    _grad(*case, {k: v[start::2] for k, v in whole.items()}) for start in (0, 1)
  ]
  jax.tree.map(
    lambda a, b, c: np.testing.assert_allclose(a + b, c, atol=1e-5),
    *grads,
    _grad(*case, batch),
  )


def test_distillation_is_zero_where_student_equals_teacher(
  student, distilling, make_examples
):
  model, trainable, frozen = distilling(
    temperature=2.0, hidden_layers="all", weight=0.7
  )
  prompts = compose_bank(trainable["prompt"], (0, 0, 0))
  equal = {**frozen, "teacher_prompt": {"shared_prompt": prompts}}
  batch = _batch(make_examples(6, 3))
  total, terms = _loss(model, trainable, equal, batch)
  for name in ("kl", "hidden"):
    np.testing.assert_allclose(terms[name][0], np.zeros(3), atol=1e-4)
  plain_total, _ = _loss(*student, batch)
  np.testing.assert_allclose(total, plain_total, rtol=1e-5)
  # Its gradient is zero too, so only the task loss's gradient is left.
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5),
    _grad(model, trainable, equal, batch),
    _grad(*student, batch),
  )
  # With other teachers neither is zero.
  other, other_terms = _loss(model, trainable, frozen, batch)
  assert other > total + 0.01
  assert all(np.all(other_terms[n][0] > 1e-2) for n in ("kl", "hidden"))


def test_distillation_terms_by_their_definition(
  student, distilling, make_examples
):
  # From both networks' outputs, in NumPy, with means over real positions.
  model, trainable, frozen = distilling(
    temperature=3.0, weight=0.4, hidden_layers=(0, 1)
  )
  batch = _batch(make_examples(5, 3))
  total, _ = _loss(model, trainable, frozen, batch)
  bodies = {k: v for k, v in frozen.items() if k != "teacher_prompt"}

  def run(config, prompt):
    return _apply(
      T5(model.config, config), {**bodies, **prompt}, batch, all_hidden=True
    )

  pupil = run(model.prompt_config, trainable)
  teacher = run(TEACHERS, {"prompt": frozen["teacher_prompt"]})
  real = {s: batch[f"{s}_segment_ids"] > 0 for s in ("encoder", "decoder")}
  p = np.asarray(jax.nn.softmax(teacher.logits / 3.0), np.float64)
  q = np.asarray(jax.nn.softmax(pupil.logits / 3.0), np.float64)
  kl = np.sum(p * np.log(p / q), -1)[real["decoder"]].mean()
  hidden = np.mean(
    [
      np.mean(
        [
          np.mean(
            np.square(
              getattr(teacher, f"{s}_hidden")[i]
              - getattr(pupil, f"{s}_hidden")[i]
            )[real[s]]
          )
          for i in (0, 1)
        ]
      )
      for s in ("encoder", "decoder")
    ]
  )
  plain_total, _ = _loss(*student, batch)
  # The factor 9 = 3² keeps the scale of the KL's gradient (Hinton et al.).
  np.testing.assert_allclose(
    total, plain_total + 0.4 * (9 * kl + hidden), rtol=1e-4
  )


def test_hidden_stacks_and_layers_choose_states(distilling, make_examples):
  batch = _batch(make_examples(5, 3))

  def hidden(**changes):
    return np.asarray(
      _loss(*distilling(kl=False, **changes), batch)[1]["hidden"]
    )

  encoder, decoder, both = (
    hidden(hidden_stacks=stacks)
    for stacks in (("encoder",), ("decoder",), ("encoder", "decoder"))
  )
  assert np.all(encoder[1] != decoder[1])
  np.testing.assert_allclose(encoder + decoder, both, rtol=1e-5)
  # With one block the states are the embeddings and the final ones.
  first = hidden(hidden_stacks=("encoder",), hidden_layers=(0,))
  every = hidden(hidden_stacks=("encoder",), hidden_layers="all")
  np.testing.assert_allclose(every[0], (first[0] + encoder[0]) / 2, rtol=1e-5)
  # The embeddings of the decoder do not depend on the prompt, the encoder's
  # do at the slots.
  assert np.all(first[0] > 0)
  first = hidden(hidden_stacks=("decoder",), hidden_layers=(0,))
  np.testing.assert_array_equal(first[0], np.zeros(3))
  with pytest.raises(ValueError, match=r"hidden_layers=\(2,\).*0 to 1"):
    hidden(hidden_layers=(2,))


def test_no_gradient_reaches_the_teachers(distilling, make_examples):
  model, trainable, frozen = distilling()
  batch = _batch(make_examples(4, 3))

  def loss(prompt):
    return model.loss(trainable, {**frozen, "teacher_prompt": prompt}, batch)[0]

  grads = jax.jit(jax.grad(loss))(frozen["teacher_prompt"])
  assert np.all(grads["shared_prompt"] == 0)


def test_what_trains_is_chosen_in_one_place(student, make_examples):
  model, trainable, frozen = student
  assert set(trainable) == {"prompt"} and "prompt" not in frozen
  everything = dataclasses.replace(model, trainable="everything")
  params = {**frozen, **trainable}
  assert everything.split_params(params) == (params, {})
  batch = _batch(make_examples(4, 3))
  grads = _grad(everything, params, {}, batch)
  assert jax.tree.structure(grads) == jax.tree.structure(params)
  assert np.abs(grads["token_embedder"]["embedding"]).max() > 1e-4
  np.testing.assert_allclose(
    _loss(everything, params, {}, batch)[0],
    _loss(model, trainable, frozen, batch)[0],
    rtol=1e-6,
  )


def test_label_smoothing_and_z_loss_reach_the_loss(student, make_examples):
  model, trainable, frozen = student
  batch = _batch(make_examples(4, 3))
  changed = dataclasses.replace(
    model, loss_config=LossConfig(label_smoothing=0.2, z_loss=0.1)
  )
  logits = _apply(model.network, {**frozen, **trainable}, batch).logits
  real = batch["decoder_segment_ids"] > 0
  expected = losses.cross_entropy(
    logits, batch["decoder_target_tokens"], 0.2, 0.1
  )[real].mean()
  found, _ = _loss(changed, trainable, frozen, batch)
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  assert abs(found - _loss(*student, batch)[0]) > 0.01


def test_a_batch_without_examples_has_no_loss(student):
  batch = _batch([])
  total, metrics = _loss(*student, batch)
  assert total == 0 and np.all(metrics["loss"][1] == 0)
  grads = _grad(*student, batch)
  assert all(np.all(g == 0) for g in jax.tree.leaves(grads))
  assert jnp.isfinite(total)


@pytest.mark.parametrize(
  "changes, message",
  [
    (dict(trainable="prompts"), "trainable.*'prompts'"),
    (dict(prompt_config=None), "prompt_config.*nothing to train"),
    (dict(loss_config=LossConfig(distill=DistillConfig())), "teacher_config"),
    (
      dict(
        loss_config=LossConfig(distill=DistillConfig()),
        teacher_config=PromptConfig(num_slots=3, prompt_length=P + 1, rank=0),
      ),
      "prompt_length=3.*3 and 4",
    ),
  ],
)
def test_models_are_checked(student, changes, message):
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(student[0], **changes)


@pytest.mark.parametrize(
  "changes, message",
  [
    (dict(temperature=0.0), "temperature.*0.0"),
    (dict(hidden_stacks=("both",)), "hidden_stacks.*both"),
    (dict(hidden_stacks=()), "hidden_stacks"),
    (dict(hidden_layers="first"), "hidden_layers.*first"),
    (dict(hidden_layers=()), "hidden_layers"),
    (dict(hidden_layers=(-1,)), "hidden_layers.*-1"),
  ],
)
def test_distillation_settings_are_checked(changes, message):
  with pytest.raises(ValueError, match=message):
    DistillConfig(**changes)


@pytest.mark.parametrize("plan", [Dense(), BySegments(11, 3)], ids=str)
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e38])
def test_a_gradient_that_overflows_does_not_reach_other_tasks(
  make_config, make_params, make_examples, plan, value
):
  """The backward pass of packed rows, where one task's gradient is bad."""
  bank = PromptConfig(num_slots=2, prompt_length=2, rank=0)
  model = Model(make_config(), bank, plan=plan)
  layout = BatchLayout(
    inputs_length=9,
    targets_length=6,
    prompt_length=2,
    num_slots=2,
    row_length=40,
  )
  batch, _ = make_batch(make_examples(6, num_slots=2), layout)
  params = make_params(model)
  rows = batch["encoder_slot_ids"][0][batch["encoder_segment_ids"][0] > 0]
  assert set(rows.tolist()) == {0, 1}

  def states(prompts):
    output = model.network.apply({"params": params}, batch, prompts=prompts)
    return output.decoder_hidden[-1], output.encoder_hidden[-1]

  _, pull = jax.vjp(states, params["prompt"]["shared_prompt"])

  def gradient(bad):
    made = []
    for stack in ("decoder", "encoder"):
      own = batch[f"{stack}_slot_ids"] == 0
      own &= batch[f"{stack}_segment_ids"] > 0
      shape = (*own.shape, model.config.emb_dim)
      random = np.random.default_rng(0).normal(size=shape).astype(np.float32)
      made.append(np.where(own[..., None], np.float32(bad), random))
    return np.asarray(pull(tuple(made))[0])

  found, expected = gradient(value), gradient(0.0)
  np.testing.assert_array_equal(found[1], expected[1])
  assert np.abs(expected[1]).max() > 0
  # The task itself has a gradient that nobody takes for a sound one.
  assert not np.square(found[0]).sum() < 2.0**120
