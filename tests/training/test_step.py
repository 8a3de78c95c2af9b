"""Properties of the step: what moves, what does not, and independence."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import train_fixtures  # noqa: F401  Sets the compilation cache.

from mpt_jax.data import batches
from mpt_jax.data.packing import BatchLayout
from mpt_jax.model import partitioning
from mpt_jax.model.cpu.strategy import BySegments
from mpt_jax.model.faults import Fault, read_faults, record
from mpt_jax.model.objective import DistillConfig, LossConfig, Model
from mpt_jax.model.plan import Dense
from mpt_jax.prompts.config import PromptConfig
from mpt_jax.training.optimizers import OptimizerConfig, make_optimizer
from mpt_jax.training.step import (
  init_train_state,
  make_train_step,
  state_shardings,
)

NUM_STEPS = 3
OPTIMIZER = OptimizerConfig(
  name="adamw", learning_rate=0.1, factor_learning_rate=0.05, clip_norm=0.5
)


@pytest.fixture(scope="module")
def config(make_config):
  return make_config(num_encoder_layers=1, num_decoder_layers=1)


@pytest.fixture(scope="module")
def bank_of_three(config):
  """A model of three slots in two groups, rank 1."""
  return Model(
    config, PromptConfig(num_slots=3, prompt_length=2, rank=1, groups=(0, 1, 1))
  )


def batch_config(**changes):
  values = dict(
    inputs_length=10,
    targets_length=6,
    prompt_length=2,
    num_slots=3,
    row_multiple=8,
  )
  return BatchLayout(**{**values, **changes})


def run(
  model,
  params,
  example_lists,
  num_microbatches=1,
  optimizer=OPTIMIZER,
  mesh=None,
  teacher=None,
  **changes,
):
  """(state, list of metrics, frozen tree) after a step on each list."""
  trainable, frozen = model.split_params(params)
  if teacher is not None:
    frozen["teacher_prompt"] = teacher
  made = make_optimizer(optimizer, NUM_STEPS, model.prompt_config)
  state = init_train_state(model, made, trainable, mesh)
  shardings = None if mesh is None else state_shardings(state, mesh)
  step = make_train_step(model, made, num_microbatches, shardings)
  metrics = []
  for examples in example_lists:
    batch, _ = batches.make_batch(
      examples, batch_config(num_slots=model.num_slots, **changes)
    )
    if mesh is not None:
      batch = partitioning.put_batch(mesh, batch)
    state, new = step(state, frozen, batch, jax.random.key(0))
    metrics.append(jax.device_get(new))
  return state, metrics, frozen


def assert_close(first, second, rtol=1e-5, atol=2e-6):
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol),
    jax.device_get(first),
    jax.device_get(second),
  )


@pytest.fixture(scope="module")
def lists(make_examples):
  """Three batches of four examples of each of three slots."""
  return [make_examples(12, num_slots=3, seed=seed) for seed in range(3)]


@pytest.fixture(scope="module")
def params(bank_of_three, make_params):
  return make_params(bank_of_three)


@pytest.fixture(scope="module")
def plain_run(bank_of_three, params, lists):
  return run(bank_of_three, params, lists)


def test_what_is_frozen_stays_to_the_bit(params, plain_run):
  state, _, frozen = plain_run
  expected = {k: v for k, v in params.items() if k != "prompt"}
  jax.tree.map(np.testing.assert_array_equal, frozen, expected)
  assert state.params.keys() == {"prompt"}
  for name, value in state.params["prompt"].items():
    assert not np.array_equal(value, params["prompt"][name])


def test_the_optimizer_knows_the_prompt_alone(params, plain_run):
  shapes = {x.shape for x in jax.tree.leaves(params["prompt"])} | {()}
  assert {x.shape for x in jax.tree.leaves(plain_run[0].opt_state)} == shapes


def test_a_task_outside_the_batch_gets_no_gradient(
  bank_of_three, params, make_examples
):
  examples = make_examples(6, num_slots=2)
  batch, _ = batches.make_batch(examples, batch_config())
  trainable, frozen = bank_of_three.split_params(params)
  grads, _ = jax.jit(jax.grad(bank_of_three.loss, has_aux=True))(
    trainable, frozen, batch
  )
  for name in ("task_columns", "task_rows"):
    grad = np.asarray(grads["prompt"][name])
    np.testing.assert_array_equal(grad[2], 0.0)
    assert np.abs(grad[:2]).min(axis=(1, 2)).max() > 0.0


@pytest.mark.parametrize("rank", [0, 1])
def test_a_bank_equals_separate_runs(config, make_params, lists, rank):
  together = Model(
    config,
    PromptConfig(num_slots=3, prompt_length=2, rank=rank, groups=(0, 1, 2)),
  )
  params = make_params(together)
  state, metrics, _ = run(together, params, lists)
  alone = Model(config, PromptConfig(num_slots=1, prompt_length=2, rank=rank))
  for task in range(3):
    own = {k: v[task : task + 1] for k, v in params["prompt"].items()}
    own_lists = [
      [{**x, "slot_id": 0} for x in examples if x["slot_id"] == task]
      for examples in lists
    ]
    own_state, own_metrics, _ = run(alone, {**params, "prompt": own}, own_lists)
    assert_close(
      {k: v[task : task + 1] for k, v in state.params["prompt"].items()},
      own_state.params["prompt"],
    )
    for new, own_new in zip(metrics, own_metrics, strict=True):
      losses = [x[task] for x in new["loss"]]
      assert_close(losses, [x[0] for x in own_new["loss"]])


@pytest.mark.parametrize("num_microbatches", [4, None])
def test_microbatches_change_nothing(
  bank_of_three, params, lists, plain_run, num_microbatches
):
  state, metrics, _ = run(
    bank_of_three, params, lists, num_microbatches=num_microbatches
  )
  # Adam divides a gradient by its own size, so the rounding of a small one
  # shows in the parameters.
  assert_close(state.params, plain_run[0].params, rtol=1e-4, atol=2e-5)
  assert_close(metrics, plain_run[1])


def test_microbatches_must_divide_the_rows(bank_of_three, params, lists):
  with pytest.raises(ValueError, match="16 rows are not a multiple of .*=3"):
    run(bank_of_three, params, lists[:1], num_microbatches=3)


def test_packed_and_plain_rows_train_alike(
  bank_of_three, params, lists, plain_run
):
  state, metrics, _ = run(bank_of_three, params, lists, pack=False)
  # Other shapes are summed in another order, and CPUs differ in it too.
  close = functools.partial(assert_close, rtol=1e-4, atol=1e-5)
  close(state.params, plain_run[0].params)
  close(metrics, plain_run[1])


@pytest.mark.parametrize("num_model_partitions", [1, 2])
def test_eight_devices_equal_one(
  bank_of_three, params, lists, plain_run, num_model_partitions
):
  mesh = partitioning.make_mesh(num_model_partitions)
  assert mesh.size == 8
  variables = jax.eval_shape(bank_of_three.init_variables, jax.random.key(0))
  shardings = partitioning.param_shardings(mesh, variables)
  if num_model_partitions == 2:
    mlp = shardings["encoder"]["layers_0"]["mlp"]["wi"]["kernel"]
    assert mlp.spec == jax.sharding.PartitionSpec(None, "model")
  placed = jax.device_put(params, shardings)
  state, metrics, _ = run(bank_of_three, placed, lists, mesh=mesh)
  assert_close(state.params, plain_run[0].params, rtol=1e-4, atol=1e-5)
  assert_close(metrics, plain_run[1], rtol=1e-4, atol=1e-5)


def test_the_step_is_compiled_once(bank_of_three, params, lists):
  mesh = partitioning.make_mesh()
  trainable, frozen = bank_of_three.split_params(
    jax.device_put(params, partitioning.replicated(mesh))
  )
  optimizer = make_optimizer(OPTIMIZER, NUM_STEPS, bank_of_three.prompt_config)
  state = init_train_state(bank_of_three, optimizer, trainable, mesh)
  step = make_train_step(
    bank_of_three, optimizer, shardings=state_shardings(state, mesh)
  )
  batch, _ = batches.make_batch(lists[0], batch_config())
  batch = partitioning.put_batch(mesh, batch)
  for _ in range(3):
    state, _ = step(state, frozen, batch, jax.random.key(0))
  assert step._cache_size() == 1
  assert int(state.step) == 3


def test_distillation_of_equal_prompts_leaves_the_task_loss(
  config, make_params, lists
):
  prompt_config = PromptConfig(num_slots=3, prompt_length=2, rank=0)
  students = Model(
    config,
    prompt_config,
    prompt_config,
    LossConfig(distill=DistillConfig(weight=10.0, temperature=2.0)),
  )
  params = make_params(students)
  state, metrics, _ = run(students, params, lists[:1], teacher=params["prompt"])
  alone = Model(config, prompt_config)
  expected, expected_metrics, _ = run(alone, params, lists[:1])
  np.testing.assert_allclose(metrics[0]["kl"][0], 0.0, atol=1e-6)
  np.testing.assert_allclose(metrics[0]["hidden"][0], 0.0, atol=1e-6)
  assert_close(metrics[0]["loss"], expected_metrics[0]["loss"])
  assert_close(metrics[0]["grad_norm"], expected_metrics[0]["grad_norm"], 1e-4)


def test_dropout_follows_the_base_key_and_the_step(
  make_config, make_params, lists
):
  model = Model(
    make_config(num_encoder_layers=1, num_decoder_layers=1, dropout_rate=0.3),
    PromptConfig(num_slots=3, prompt_length=2, rank=0),
  )
  params = make_params(model)
  still = OptimizerConfig(learning_rate=0.0, factor_learning_rate=0.0)
  losses = [
    [
      m["loss"][0].sum()
      for m in run(model, params, 2 * lists[:1], optimizer=still)[1]
    ]  # fmt: skip
    for _ in range(2)
  ]
  assert losses[0] == losses[1]
  # The same batch and parameters, another step: other units are dropped.
  assert losses[0][0] != losses[0][1]
  assert jnp.isfinite(jnp.asarray(losses)).all()


class Stepper:
  """Takes the steps of `lists` one by one, all with one compiled program."""

  def __init__(self, model, params, lists, num_microbatches=1, mesh=None):
    self.model, self.mesh = model, mesh
    if mesh is not None:
      variables = jax.eval_shape(model.init_variables, jax.random.key(0))
      params = jax.device_put(
        params, partitioning.param_shardings(mesh, variables)
      )
    self.trainable, frozen = model.split_params(params)
    self.frozen = model.plan.prepare(frozen)
    self.optimizer = make_optimizer(OPTIMIZER, NUM_STEPS, model.prompt_config)
    shardings = None
    if mesh is not None:
      shardings = state_shardings(self.init(), mesh)
    self.step = make_train_step(
      model, self.optimizer, num_microbatches, shardings
    )
    layout = model.plan.rows(batch_config(num_slots=model.num_slots))
    self.batches = [batches.make_batch(x, layout)[0] for x in lists]
    if mesh is not None:
      self.batches = [partitioning.put_batch(mesh, x) for x in self.batches]

  def init(self):
    return init_train_state(
      self.model, self.optimizer, self.trainable, self.mesh
    )

  def go(self, before=lambda step, state: state):
    """The states after each step; `before` may change the state before it."""
    state = self.init()
    states = []
    for i, batch in enumerate(self.batches, 1):
      state = before(i, state)
      state, metrics = self.step(state, self.frozen, batch, jax.random.key(0))
      assert all(np.isfinite(x).all() for x in jax.tree.leaves(metrics))
      states.append(jax.device_get(state))
    return states


PLANS = {"dense": Dense(), "segments": BySegments(12, 3)}


@pytest.fixture(scope="module", params=["dense", "segments"])
def stepper(request, bank_of_three, params, lists):
  model = dataclasses.replace(bank_of_three, plan=PLANS[request.param])
  return Stepper(model, params, lists)


@pytest.fixture(scope="module")
def healthy(stepper):
  return stepper.go()


def plant(task, name, value, at=2):
  """Sets a row of a slot before a step."""

  def before(step, state):
    if step != at:
      return state
    prompt = dict(state.params["prompt"])
    changed = np.array(prompt[name])
    changed[task] = value
    prompt[name] = jax.device_put(changed, prompt[name].sharding)
    return state.replace(params={"prompt": prompt})

  return before


def rows(state, name, chosen):
  """The rows of an array of the bank, and of its moments."""
  adam = state.opt_state[2][0]
  trees = (state.params, adam.mu, adam.nu)
  return [np.asarray(x["prompt"][name])[chosen] for x in trees]


def assert_equal(first, second):
  jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38, 1e30, 1e12])
def test_a_slot_with_any_values_does_not_reach_other_groups(
  stepper, healthy, value
):
  states = stepper.go(plant(0, "shared_prompt", value))
  for state, expected in zip(states, healthy, strict=True):
    assert_equal(
      rows(state, "shared_prompt", [1]), rows(expected, "shared_prompt", [1])
    )
    for name in ("task_columns", "task_rows"):
      assert_equal(rows(state, name, [1, 2]), rows(expected, name, [1, 2]))
  faults = read_faults(states[-1].faults, "abc")
  if not np.isfinite(value):
    assert faults == [Fault("a", 2, "prompt")]
    for name in ("shared_prompt", "task_columns", "task_rows"):
      assert_equal(rows(states[-1], name, [0]), rows(healthy[0], name, [0]))
  # A prompt of 1e30 has a finite loss, gradient and update.
  if value in (1e30, 1e12):
    assert faults == []


def test_a_slot_that_diverges_leaves_its_group(stepper, healthy):
  states = stepper.go(plant(1, "task_rows", np.nan))
  assert read_faults(states[-1].faults, "abc") == [Fault("b", 2, "prompt")]

  def leave(step, state):
    bad = jnp.array([False, step == 2, False])
    faults = record(state.faults, jnp.int32(step), "prompt", bad)
    return state.replace(faults=faults)

  assert_equal(states[-1].params, stepper.go(leave)[-1].params)
  for name in ("task_columns", "task_rows"):
    assert_equal(rows(states[-1], name, [1]), rows(healthy[0], name, [1]))
    assert_equal(rows(states[-1], name, [0]), rows(healthy[-1], name, [0]))
  # The other slot and the prompt that both share go on.
  moved = states[-1].params["prompt"]["shared_prompt"][1]
  assert (moved != healthy[0].params["prompt"]["shared_prompt"][1]).any()
  assert (moved != healthy[-1].params["prompt"]["shared_prompt"][1]).any()


def test_an_update_that_overflows_is_undone(
  bank_of_three, params, lists, stepper
):
  """The rate of slot 0 alone is so large that its first update is infinite."""
  own = Stepper(stepper.model, params, lists)
  scales = (3e38, 1.0), (3e38, 1.0, 1.0)
  huge = dataclasses.replace(OPTIMIZER, learning_rate=10.0)
  huge = make_optimizer(huge, NUM_STEPS, bank_of_three.prompt_config, *scales)
  own.optimizer, own.step = huge, make_train_step(stepper.model, huge)
  states = own.go()
  assert read_faults(states[-1].faults, "abc") == [Fault("a", 1, "update")]
  for name, value in states[-1].params["prompt"].items():
    np.testing.assert_array_equal(value[0], params["prompt"][name][0])
  for name in ("mu", "nu"):
    moments = getattr(states[-1].opt_state[2][0], name)["prompt"]
    assert all((x[0] == 0).all() for x in moments.values())


# (changes of the T5's config, micro-batches, devices that share the T5). None
# makes each row a micro-batch, as for long rows. No devices means one in all.
VARIANTS = {
  "microbatches": ({}, 4, None),
  "long rows": ({}, None, None),
  "bfloat16": ({"dtype": "bfloat16"}, 1, None),
  "dropout": ({"dropout_rate": 0.3}, 1, None),
  "eight devices": ({}, 1, 1),
  "a T5 over two devices": ({}, 1, 2),
  "all": ({"dtype": "bfloat16", "dropout_rate": 0.3}, 2, 2),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_slot_is_frozen_in_any_kind_of_step(
  make_config, make_params, bank_of_three, lists, variant
):
  changes, num_microbatches, partitions = VARIANTS[variant]
  config = make_config(num_encoder_layers=1, num_decoder_layers=1, **changes)
  model = dataclasses.replace(bank_of_three, config=config)
  mesh = None if partitions is None else partitioning.make_mesh(partitions)
  own = Stepper(model, make_params(model), lists, num_microbatches, mesh)
  healthy = own.go()
  states = own.go(plant(0, "task_rows", np.nan))
  assert read_faults(states[-1].faults, "abc") == [Fault("a", 2, "prompt")]
  groups = {"shared_prompt": [1], "task_columns": [1, 2], "task_rows": [1, 2]}
  for name, others in groups.items():
    for state, expected in zip(states, healthy, strict=True):
      assert_equal(rows(state, name, others), rows(expected, name, others))
    assert_equal(rows(states[-1], name, [0]), rows(healthy[0], name, [0]))
    # The healthy slot moves on.
    assert (
      healthy[-1].params["prompt"][name][0]
      != healthy[0].params["prompt"][name][0]
    ).any()
