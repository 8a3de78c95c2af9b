"""Starting values of prompts: token embeddings, random rows, trained banks."""

import jax
import jax.numpy as jnp
import numpy as np

from mpt_jax.prompts.bank import load_bank


def random_rows(key, prompt_length, emb_dim, scale=1.0):
  """[P, D] normal rows; `scale` is their standard deviation."""
  return scale * jax.random.normal(key, (prompt_length, emb_dim))


def vocabulary_rows(key, embedding, prompt_length, num_most_frequent=5000):
  """Rows of the token embedding, drawn from the most frequent pieces.

  Source: Lester et al. (2021), section 3.2. sentencepiece numbers pieces by
    falling frequency, so the most frequent pieces have the lowest ids after the
    three special ones.

  Args:
    key: PRNG key.
    embedding: [V, D].
    prompt_length: P.
    num_most_frequent: the number of pieces to draw from, without replacement if
      there are at least P.

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


def init_bank(slots, config, embedding, encode=None, backbone=None):
  """Returns a bank's starting values, by each slot's `init` and `seed`.

  A slot's values depend on its own fields alone, so they are the same in a
  bank of one and in a bank of many. Slots of one group take the arrays that
  they share (P*) from the first of them.

  Args:
    slots: the N slots.
    config: their `PromptConfig`.
    embedding: [V, D], the T5's token embedding.
    encode: text -> token ids, for "text:...".
    backbone: fingerprint that the source banks must have.

  Returns:
    The arrays of the bank by name, float32.

  Raises:
    FileNotFoundError: a source is missing.
    ValueError: an init is unknown or does not fit.
  """
  emb_dim = embedding.shape[1]
  shapes = config.shapes(emb_dim)
  sources = {}
  rows = {name: {} for name in config.leaves}
  for i, slot in enumerate(slots):
    if slot.source is not None and slot.source not in sources:
      sources[slot.source] = load_bank(slot.source, backbone)
    source = sources.get(slot.source)
    if source is not None:
      _check_size(slot, source, config.prompt_length, emb_dim)
    try:
      start = _start(slot, config, embedding, encode, source)
    except ValueError as error:
      raise ValueError(f"slot {slot.name!r}: {error}") from error
    for name in config.leaves:
      rows[name].setdefault(config.rows(name)[i], start[name])
  return {
    name: jnp.stack([found[i] for i in range(shapes[name][0])]).astype(
      jnp.float32
    )
    for name, found in rows.items()
  }


def _check_size(slot, source, prompt_length, emb_dim):
  found = (source.config.prompt_length, source.emb_dim)
  if found != (prompt_length, emb_dim):
    raise ValueError(
      f"slot {slot.name!r}: the prompts of {slot.source} have prompt_length="
      f"{found[0]} and width {found[1]}, this experiment has prompt_length="
      f"{prompt_length} and a T5 of width {emb_dim}; they must be equal (in"
      " gin: PROMPT_LENGTH)"
    )


def _start(slot, config, embedding, encode, source):
  """One slot's row of each array of the bank."""
  key = jax.random.key(slot.seed)
  own_key = jax.random.fold_in(key, 1)  # Independent of the draws of the rows.
  kind, length = config.find_kind(), config.prompt_length
  sizes = config.sizes(embedding.shape[1])
  if source is not None:
    return kind.start_from(source, slot.init, sizes, own_key)
  if slot.init == "vocabulary":
    rows = vocabulary_rows(key, embedding, length)
  elif slot.init == "random":
    # The scale of the token embeddings, which is what the encoder expects.
    scale = jnp.sqrt(jnp.mean(jnp.square(jnp.asarray(embedding))))
    rows = random_rows(key, length, embedding.shape[1], scale)
  elif slot.init.startswith("text:"):
    ids = encode(slot.init.removeprefix("text:"))
    rows = text_rows(embedding, ids, length)
  else:
    raise ValueError(
      f"init {slot.init!r} is not 'vocabulary', 'random' or 'text:...', and"
      " no source was given for any other"
    )
  return kind.start(rows, sizes, own_key)
