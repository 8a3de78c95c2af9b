"""The multitask prompt of MPT: a shared prompt times a matrix for each task.

Axis letters: B batch, P prompt_length, D emb_dim, N num_slots, R rank,
G groups of slots that share one P*.
"""

import jax
import jax.numpy as jnp
import numpy as np

from mpt_jax.prompts.kind import (
  EMBED,
  GROUPS,
  LENGTH,
  RANK,
  SLOTS,
  Kind,
  Leaf,
  product_bound,
)

TARGET_INITS = ("mean_matrix", "mean_factors", "shared_only", "task:<name>")


class Multitask(Kind):
  """P_k = P* ∘ Σ_r u_k v_kᵀ, Wang et al. (2023), section 3.1.

  `shared_prompt` [G, P, D] is P*, `task_columns` [N, P, R] are the u_k,
  `task_rows` [N, R, D] the v_k.
  """

  name = "multitask"
  leaves = {
    "shared_prompt": Leaf((GROUPS, LENGTH, EMBED), "learning_rate"),
    "task_columns": Leaf((SLOTS, LENGTH, RANK), "factor_learning_rate"),
    "task_rows": Leaf((SLOTS, RANK, EMBED), "factor_learning_rate"),
  }
  peft_type = "MULTITASK_PROMPT_TUNING"
  peft_names = {
    "prompt_embeddings": "shared_prompt",
    "prefix_task_cols": "task_columns",
    "prefix_task_rows": "task_rows",
  }

  def compose(self, params, groups):
    groups = jnp.asarray(groups)
    return compose_task_prompts(
      jnp.asarray(params["shared_prompt"])[groups],
      params["task_columns"],
      params["task_rows"],
      jnp.arange(groups.shape[0]),
    )

  def rows(self, params, groups, slot_ids, positions):
    """Makes the rows alone if the rank is 1, P*[position] ∘ u[position] v."""
    params = jax.tree.map(jnp.asarray, dict(params))
    if params["task_columns"].shape[-1] > 1:
      return super().rows(params, groups, slot_ids, positions)
    groups = jnp.asarray(groups)[slot_ids]
    column = params["task_columns"][slot_ids, positions]  # [..., 1]
    row = params["task_rows"][slot_ids, 0]
    return params["shared_prompt"][groups, positions] * (column * row)

  def bound(self, params, groups):
    shared = jnp.max(jnp.abs(params["shared_prompt"]), axis=(1, 2))[groups]
    return shared * product_bound(params["task_columns"], params["task_rows"])

  def start(self, rows, sizes, key):
    del key
    factors = init_factors(rows.shape[0], sizes[RANK], rows.shape[1])
    return _slot(rows, factors)

  def start_from(self, source, how, sizes, key):
    """P* and factors of the source; see `init_target_factors` for `how`."""
    if source.config.kind != self.name:
      return super().start_from(source, how, sizes, key)
    if source.config.num_groups > 1:
      raise ValueError(
        f"the source has {source.config.num_groups} shared prompts; a target"
        " starts from one"
      )
    factors = init_target_factors(
      source.params, how, sizes[RANK], source.emb_dim, source.names
    )
    return _slot(jnp.asarray(source.params["shared_prompt"][0]), factors)

  def formulas(self, sizes):
    """The paper's form: (l·d) for P* and (l + d) for a task's factors."""
    length, rank, emb_dim = sizes[LENGTH], sizes[RANK], sizes[EMBED]
    factors = f"({length}+{emb_dim})" + (f"·{rank}" if rank > 1 else "")
    return {GROUPS: f"{length}·{emb_dim}", SLOTS: factors}


def _slot(shared_prompt, factors):
  columns, rows = factors
  return {
    "shared_prompt": shared_prompt,
    "task_columns": columns,
    "task_rows": rows,
  }


def compose_task_prompts(shared_prompt, task_columns, task_rows, slot_ids):
  """Builds one soft prompt per example: shared prompt times a task matrix.

  P_k = P* ∘ (u_k v_kᵀ), Wang et al. (2023), section 3.1; u_k is
  `task_columns[k]`, v_k is `task_rows[k]`. With R > 1 the matrix is the sum of
  R such products.

  Args:
    shared_prompt: [P, D] float, or [B, P, D] where examples differ in P*.
    task_columns: [N, P, R] float.
    task_rows: [N, R, D] float.
    slot_ids: [B] int in [0, N). Not checked here: under jit an index out of
      range is clamped, so `batches.make_batch` checks it on the host.

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
    jnp.asarray(task_columns)[slot_ids],
    jnp.asarray(task_rows)[slot_ids],
    precision="highest",
  )
  return jnp.broadcast_to(shared_prompt, matrices.shape) * matrices


def init_factors(prompt_length, rank, emb_dim):
  """Factors of one task whose matrix is all ones, so that P_k starts at P*.

  The first product is all ones. Each further product has a column of zeros and
  its own row of signs. It adds nothing at the start, and its gradient differs
  from the others', as with LoRA's zero half (Hu et al., 2021). Equal products
  would always get equal gradients and stay of rank one.

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
  """Returns the best factors of the mean of several tasks' matrices.

  Args:
    columns: [N, P, R], the source tasks' columns.
    rows: [N, R, D], their rows.
    rank: R', the rank of the result.

  Returns:
    columns [P, R'] and rows [R', D]. Their product is the matrix of rank R'
    that is closest, in the Frobenius norm (Eckart and Young), to the mean over
    tasks of Σ_r u_r v_rᵀ. The singular values are split evenly between both.
    The mean of N rank-one matrices has rank up to N, so with R' = 1 this is in
    general an approximation. It is exact if the rank allows it.
  """
  mean = jnp.einsum("npr,nrd->pd", columns, rows) / columns.shape[0]
  left, values, right = jnp.linalg.svd(mean, full_matrices=False)
  pad = max(0, rank - values.shape[0])
  root = jnp.sqrt(values[:rank])
  columns = jnp.pad(left[:, :rank] * root[None], ((0, 0), (0, pad)))
  rows = jnp.pad(root[:, None] * right[:rank], ((0, pad), (0, 0)))
  # The sign of a singular pair is arbitrary. Choose the sign that makes the
  # columns positive on average, because trained factors started at one.
  sign = jnp.where(columns.sum(0) < 0, -1.0, 1.0)
  return columns * sign[None], rows * sign[:, None]


def init_target_factors(source, how, rank, emb_dim, task_names=()):
  """Starting factors of a target task from the source tasks' factors.

  Args:
    source: {"task_columns": [N, P, R], "task_rows": [N, R, D], ...}.
    how: "mean_matrix" (mean of u vᵀ, the closest of this rank),
      "mean_factors" (mean of u and mean of v; PEFT's AVERAGE_SOURCE_TASKS and
      the paper's reading), "shared_only" (ones: P* alone) or "task:NAME" (one
      source task's).
    rank: R', the target's. "mean_factors" and "task:NAME" need R' = R.
    emb_dim: D.
    task_names: names of the N source tasks, for "task:NAME".

  Returns:
    columns [P, R'], rows [R', D].

  Raises:
    ValueError: `how` or the task is unknown, or the rank does not fit.
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
      f" Experiment.rank={rank}; use 'mean_matrix' to change the rank"
    )
  return columns, rows
