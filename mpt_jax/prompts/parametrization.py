"""The bank of prompts: plain soft prompts and the multitask prompt of MPT.

Axis letters: B batch, L length, P prompt_length, D emb_dim, N num_tasks,
R rank, G groups of tasks that share one P*.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.partitioning import param_with_axes


@dataclasses.dataclass(frozen=True)
class PromptConfig:
  """The shape of a bank of prompts.

  Attributes:
    num_tasks: N, prompts in the bank.
    prompt_length: P, slots of one prompt.
    rank: R, rank of the task factors: 1 in the paper, 0 for plain soft
      prompts (a teacher, prompt tuning, SPoT), which have no factors.
    groups: for each of the N tasks the row of the shared prompt it uses,
      counted from 0 without gaps. None: all tasks share one P* if there are
      factors, and each task has its own prompt if there are none. Groups are
      independent of each other in training.
  """

  num_tasks: int
  prompt_length: int = 100
  rank: int = 1
  groups: tuple[int, ...] | None = None

  def __post_init__(self):
    for name, least in (("num_tasks", 1), ("prompt_length", 1), ("rank", 0)):
      value = getattr(self, name)
      if not isinstance(value, int) or value < least:
        raise ValueError(
          f"PromptConfig.{name} must be an integer of at least {least}, got"
          f" {value!r}"
        )
    groups = self.groups
    if groups is None:
      groups = range(self.num_tasks) if self.rank == 0 else [0] * self.num_tasks
    groups = tuple(int(g) for g in groups)
    if len(groups) != self.num_tasks or set(groups) != set(
      range(max(groups) + 1)
    ):
      raise ValueError(
        f"PromptConfig.groups must hold, for each of the {self.num_tasks}"
        " tasks, a group counted from 0 without gaps, got"
        f" {self.groups}"
      )
    object.__setattr__(self, "groups", groups)

  @property
  def num_groups(self) -> int:
    return max(self.groups) + 1

  def num_parameters(self, emb_dim: int) -> int:
    """Trainable parameters: (P·D) per group and (P + D)·R per task.

    With one task this is the paper's (l·d) + (l + d), with a group of τ
    targets (l·d) + (l + d)·τ.

    >>> PromptConfig(num_tasks=1).num_parameters(768)
    77668
    >>> PromptConfig(num_tasks=8).num_parameters(768)
    83744
    """
    shared = self.num_groups * self.prompt_length * emb_dim
    factors = self.num_tasks * self.rank * (self.prompt_length + emb_dim)
    return shared + factors


def compose_task_prompts(shared_prompt, task_columns, task_rows, task_ids):
  """Builds one soft prompt per example: shared prompt times a task matrix.

  P_k = P* ∘ (u_k v_kᵀ), Wang et al. (2023), section 3.1; u_k is
  `task_columns[k]`, v_k is `task_rows[k]`. With R > 1 the matrix is the sum of
  R such products.

  Args:
    shared_prompt: [P, D] float, or [B, P, D] where examples differ in P*.
    task_columns: [N, P, R] float.
    task_rows: [N, R, D] float.
    task_ids: [B] int in [0, N). Not checked here: under jit an index out of
      range is clamped, so the feature converter checks it on the host.

  Returns:
    [B, P, D] prompts.

  >>> shared = jnp.array([[1.0, 2.0], [3.0, 4.0]])
  >>> columns = jnp.array([[[1.0], [10.0]]])
  >>> rows = jnp.array([[[1.0, -1.0]]])
  >>> compose_task_prompts(shared, columns, rows, jnp.array([0])).tolist()
  [[[1.0, -2.0], [30.0, -40.0]]]
  """
  matrices = jnp.einsum(
    "bpr,brd->bpd",
    jnp.asarray(task_columns)[task_ids],
    jnp.asarray(task_rows)[task_ids],
  )
  return jnp.broadcast_to(shared_prompt, matrices.shape) * matrices


def compose_bank(prompt_params, groups):
  """All prompts of a bank as plain soft prompts.

  Args:
    prompt_params: {"shared_prompt": [G, P, D]} and, for rank > 0,
      "task_columns" [N, P, R] and "task_rows" [N, R, D].
    groups: [N] the group of each task.

  Returns:
    [N, P, D] prompts.
  """
  groups = jnp.asarray(groups)
  shared = jnp.asarray(prompt_params["shared_prompt"])[groups]
  if "task_columns" not in prompt_params:
    return shared
  return compose_task_prompts(
    shared,
    prompt_params["task_columns"],
    prompt_params["task_rows"],
    jnp.arange(groups.shape[0]),
  )


class Prompt(nn.Module):
  """The bank as a Flax module: rows of the prompts at given slots.

  Parameters: `shared_prompt` [G, P, D] and, for rank > 0, `task_columns`
  [N, P, R] and `task_rows` [N, R, D]. Their initial values here are neutral
  (see `bank.init_bank` for those of an experiment): standard normal, and
  factors whose product is one.
  """

  config: PromptConfig
  emb_dim: int

  @nn.compact
  def __call__(self, slots, task_ids):
    """Looks up prompt rows.

    Args:
      slots: [B, L] int in [0, P]; 0 means no slot, and what is returned there
        is to be ignored.
      task_ids: [B, L] int in [0, N).

    Returns:
      [B, L, D], row `slots - 1` of the prompt of task `task_ids`.
    """
    c = self.config
    params = {
      "shared_prompt": param_with_axes(
        "shared_prompt",
        nn.initializers.normal(1.0),
        (c.num_groups, c.prompt_length, self.emb_dim),
        jnp.float32,
        axes=("prompt_groups", "prompt_length", "embed"),
      )
    }
    if c.rank > 0:
      factor = lambda _, shape, dtype: jnp.full(shape, c.rank**-0.5, dtype)
      params["task_columns"] = param_with_axes(
        "task_columns",
        factor,
        (c.num_tasks, c.prompt_length, c.rank),
        jnp.float32,
        axes=("prompt_tasks", "prompt_length", "prompt_rank"),
      )
      params["task_rows"] = param_with_axes(
        "task_rows",
        factor,
        (c.num_tasks, c.rank, self.emb_dim),
        jnp.float32,
        axes=("prompt_tasks", "prompt_rank", "embed"),
      )
    prompts = compose_bank(params, c.groups)  # [N, P, D]
    return prompts[task_ids, jnp.maximum(slots - 1, 0)]


# ----------------------------------------------------------------- values


def random_rows(key, prompt_length, emb_dim, scale=1.0):
  """[P, D] normal rows; `scale` is their standard deviation."""
  return scale * jax.random.normal(key, (prompt_length, emb_dim))


def vocabulary_rows(key, embedding, prompt_length, num_most_frequent=5000):
  """Rows of the token embedding, drawn from the most frequent pieces.

  Lester et al. (2021), section 3.2; sentencepiece numbers pieces by falling
  frequency, so the most frequent are those with the lowest ids, after the
  three special ones.

  Args:
    key: PRNG key.
    embedding: [V, D].
    prompt_length: P.
    num_most_frequent: draw from so many pieces, without replacement while
      there are enough of them.

  Returns:
    [P, D].
  """
  count = min(num_most_frequent, embedding.shape[0] - 3)
  ids = jax.random.choice(
    key, count, (prompt_length,), replace=prompt_length > count
  )
  return jnp.asarray(embedding)[3 + ids]


def text_rows(embedding, token_ids, prompt_length):
  """Rows of a text's tokens, repeated or cut to the prompt's length.

  Args:
    embedding: [V, D].
    token_ids: the text's ids, at least one.
    prompt_length: P.

  Returns:
    [P, D].

  Raises:
    ValueError: the text has no tokens.
  """
  if len(token_ids) == 0:
    raise ValueError("the prompt's initial text has no tokens")
  ids = np.resize(np.asarray(token_ids), prompt_length)
  return jnp.asarray(embedding)[ids]


def init_factors(prompt_length, rank, emb_dim):
  """Factors of one task whose matrix is all ones, so that P_k starts at P*.

  The first product carries the ones. Each further one has a column of zeros
  and a row of signs of its own: it adds nothing at the start, and its gradient
  differs from the others', as with LoRA's zero half (Hu et al., 2021). Equal
  products would get equal gradients for ever and remain of rank one.

  Args:
    prompt_length: P.
    rank: R, at least 1.
    emb_dim: D.

  Returns:
    columns [P, R], rows [R, D].

  >>> columns, rows = init_factors(2, 3, 4)
  >>> (columns @ rows).tolist()
  [[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]]
  """
  columns = np.zeros((prompt_length, rank), np.float32)
  columns[:, 0] = 1.0
  rows = np.ones((rank, emb_dim), np.float32)
  signs = np.random.default_rng(0).choice([-1.0, 1.0], (rank, emb_dim))
  rows[1:] = signs[1:]
  return jnp.asarray(columns), jnp.asarray(rows)


def factor_matrix(columns, rows, rank):
  """The best factors of the mean of several tasks' matrices.

  Args:
    columns: [N, P, R] of the source tasks.
    rows: [N, R, D].
    rank: R' of the result.

  Returns:
    columns [P, R'], rows [R', D]: of the mean over tasks of Σ_r u_r v_rᵀ, the
    closest matrix of rank R' in the Frobenius norm (Eckart and Young), the
    singular values split evenly. The mean of N rank-one matrices has rank up
    to N, so with R' = 1 this is in general an approximation; it is exact where
    the rank allows it.
  """
  mean = jnp.einsum("npr,nrd->pd", columns, rows) / columns.shape[0]
  left, values, right = jnp.linalg.svd(mean, full_matrices=False)
  pad = max(0, rank - values.shape[0])
  root = jnp.sqrt(values[:rank])
  columns = jnp.pad(left[:, :rank] * root[None], ((0, 0), (0, pad)))
  rows = jnp.pad(root[:, None] * right[:rank], ((0, pad), (0, 0)))
  # A singular pair is free in its sign: choose the one that keeps the columns
  # positive on average, as factors that started at one are.
  sign = jnp.where(columns.sum(0) < 0, -1.0, 1.0)
  return columns * sign[None], rows * sign[:, None]


TARGET_INITS = ("mean_matrix", "mean_factors", "shared_only", "task:<name>")


def init_target_factors(source, how, rank, emb_dim, task_names=()):
  """Starting factors of a target task from the source tasks' factors.

  Args:
    source: {"task_columns": [N, P, R], "task_rows": [N, R, D], ...}.
    how: "mean_matrix" (mean of u vᵀ, the closest of this rank),
      "mean_factors" (mean of u and mean of v; PEFT's AVERAGE_SOURCE_TASKS and
      the paper's reading), "shared_only" (ones: P* alone) or "task:NAME" (one
      source task's).
    rank: R' of the target. "mean_factors" and "task:NAME" need the source's.
    emb_dim: D.
    task_names: names of the N source tasks, for "task:NAME".

  Returns:
    columns [P, R'], rows [R', D].

  Raises:
    ValueError: an unknown `how`, an unknown task, a rank that does not fit.
  """
  columns, rows = source["task_columns"], source["task_rows"]
  if how == "mean_matrix":
    return factor_matrix(columns, rows, rank)
  if how == "shared_only":
    return init_factors(columns.shape[1], rank, emb_dim)
  if how == "mean_factors":
    columns, rows = columns.mean(0), rows.mean(0)
  elif how.startswith("task:"):
    name = how.removeprefix("task:")
    if name not in task_names:
      raise ValueError(
        f"target init {how!r}: no source task {name!r}; the bank has"
        f" {', '.join(task_names)}"
      )
    index = list(task_names).index(name)
    columns, rows = columns[index], rows[index]
  else:
    raise ValueError(
      f"target init {how!r} is not one of {', '.join(TARGET_INITS)}"
    )
  if columns.shape[-1] != rank:
    raise ValueError(
      f"target init {how!r} keeps the source's rank {columns.shape[-1]}, but"
      f" rank={rank} was asked for; use 'mean_matrix' to change the rank"
    )
  return columns, rows
