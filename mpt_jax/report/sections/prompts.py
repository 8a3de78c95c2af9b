"""How the prompts of a bank resemble each other."""

import numpy as np

from mpt_jax.report import page
from mpt_jax.report.material import Prompts
from mpt_jax.report.sections import tables

# Larger banks have no table.
MOST_PROMPTS = 12


def similarity(prompts, centred: bool = True) -> np.ndarray:
  """Cosine similarity of flattened prompts.

  Prompts that share P* are nearly parallel, so by default their mean is
  subtracted first; the rest shows how the tasks differ. Centred cosines of N
  unrelated prompts are near -1 / (N - 1), not 0.

  >>> similarity([[[1.0, 0.0]], [[0.0, 1.0]]], centred=False).tolist()
  [[1.0, 0.0], [0.0, 1.0]]
  >>> similarity([[[4.0, 0.0]], [[0.0, 4.0]]]).round(6).tolist()
  [[1.0, -1.0], [-1.0, 1.0]]

  Args:
    prompts: [N, P, D] float.
    centred: subtract the mean over N first.

  Returns:
    [N, N] float in -1..1; 0 where a prompt (less the mean) is zero.

  Raises:
    ValueError: `prompts` does not have three axes, or has no entries.
  """
  prompts = np.asarray(prompts, np.float64)
  if prompts.ndim != 3 or not prompts.size:
    raise ValueError(
      "prompts must be [num_slots, prompt_length, emb_dim] and not empty, got"
      f" shape {prompts.shape}; PromptBank.composed has that shape"
    )
  flat = prompts.reshape(len(prompts), -1)  # [N, P * D]
  if centred:
    flat = flat - flat.mean(axis=0, keepdims=True)
  norms = np.linalg.norm(flat, axis=1, keepdims=True)
  unit = np.divide(flat, norms, out=np.zeros_like(flat), where=norms > 1e-12)
  return np.clip(unit @ unit.T, -1.0, 1.0)


def similarities(prompts: Prompts | None) -> page.Section | None:
  """A table of cosines; None unless there are a few prompts."""
  if prompts is None or not 2 < len(prompts.names) <= MOST_PROMPTS:
    return None
  num = len(prompts.names)
  plain = similarity(prompts.composed, centred=False)[~np.eye(num, dtype=bool)]
  rows = []
  for name, values in zip(
    prompts.names, similarity(prompts.composed), strict=True
  ):
    cells = [
      tables.Text(
        f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−"),
        tint=0.7 * abs(value),
        kind="miss" if value > 0 else "hit",
      )
      for value in values
    ]
    rows.append(tables.TableRow([tables.Text(name), *cells]))
  heads = [tables.Text("prompt"), *map(tables.Text, prompts.names)]
  table = tables.Table(
    "1 (orange): same direction; −1 (blue): opposite",
    heads,
    [tables.Body("", rows)],
    "heat",
  )
  text = (
    "Cosine between the prompts, flattened, after their mean is taken off. If"
    " they share P*, the plain cosines are alike; here they are"
    f" {plain.min():.2f} to {plain.max():.2f}. Unrelated prompts would be near"
    f" −{1 / (num - 1):.2f} each, not 0."
  )
  body = page.fill("table.html", before=[text], tables=[table], after=())
  return page.Section("Similarity of the prompts", body)
