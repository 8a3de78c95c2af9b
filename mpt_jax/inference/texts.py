"""From a row of a task to token ids, and from scores and ids to an answer.

`mpt predict` and `mpt serve` both use it, so their answers are equal.
"""

import contextlib
import dataclasses

import numpy as np

from mpt_jax.data import templates
from mpt_jax.data.batches import EOS_ID
from mpt_jax.data.labels import check_labels


@dataclasses.dataclass(frozen=True)
class TaskTexts:
  """How a prompt's rows become inputs, and its outputs become answers.

  Attributes:
    name: the prompt's name.
    template: its template, or None for the text as it is.
    labels: the labels to rank, or () if it generates.
    candidates: the token ids of each label with the end of sequence.
    tokenizer: the `Tokenizer` of the T5.
  """

  name: str
  template: str | None
  labels: tuple[str, ...]
  candidates: tuple[np.ndarray, ...]
  tokenizer: object

  @classmethod
  def read(cls, name, slot, tokenizer, ranks=True) -> "TaskTexts":
    """Makes the texts of a slot of a bank.

    Args:
      name: the slot's name.
      slot: the dict of `PromptBank.slots`.
      tokenizer: the `Tokenizer` of the T5.
      ranks: whether its labels, if any, are ranked.

    Raises:
      ValueError: the template is malformed, or labels cannot be told apart.
    """
    what = f"prompt {name!r}"
    labels, template = slot.get("label_names") or (), slot.get("template")
    is_list = isinstance(labels, list | tuple)
    if not is_list or not all(isinstance(label, str) for label in labels):
      raise ValueError(f"{what}: label_names must be texts, got {labels!r:.80}")
    try:
      templates.fields(template or "")
    except ValueError as error:
      raise ValueError(f"{what}: {error}") from error
    candidates = tuple(with_eos(tokenizer, label) for label in labels)
    if ranks:
      check_labels(what, labels, candidates)
    return cls(name, template or None, tuple(labels), candidates, tokenizer)

  def input_ids(self, row: dict, raw: bool = False) -> np.ndarray:
    """Fills the template with a row, and tokenises.

    Args:
      row: the fields of the template, or "text".
      raw: take "text" as the whole input.

    Returns:
      [L] int32 token ids with the end of sequence.

    Raises:
      ValueError: a field is missing, or neither a text nor a number.
    """
    return with_eos(self.tokenizer, self._input_text(row, raw))

  def _input_text(self, row, raw):
    if raw or not self.template:
      if row.get("text") is None:
        raise ValueError(_lacks(["text"], row))
      return templates.as_text(row["text"], "text")
    fields = templates.fields(self.template)
    values = dict(row)
    if len(set(fields)) == 1 and "text" in row:
      values.setdefault(fields[0], row["text"])
    for name in fields:
      with contextlib.suppress(KeyError):
        values[name] = templates.look_up(values, name)
    missing = [f for f in dict.fromkeys(fields) if values.get(f) is None]
    if missing:
      of = f" for the template {self.template!r} of {self.name!r}"
      raise ValueError(_lacks(missing, row, of))
    return templates.fill(self.template, values)

  def ranked(self, scores) -> dict:
    """Returns the answer for the scores of the labels, [labels] float32.

    It has "prediction", "scores", the log-probability of each label, and
    "probabilities", which are the shares of the labels among each other.
    """
    shares = np.exp(np.asarray(scores, np.float64) - np.max(scores))
    shares = (shares / shares.sum()).tolist()
    return {
      "prediction": self.labels[int(scores.argmax())],
      "scores": dict(zip(self.labels, map(float, scores), strict=True)),
      "probabilities": dict(zip(self.labels, shares, strict=True)),
    }

  def generated(self, tokens) -> dict:
    """Returns the answer for generated token ids, [T]."""
    return {"prediction": self.tokenizer.decode(tokens)}


def with_eos(tokenizer, text: str) -> np.ndarray:
  """Returns the ids of a text with the end of sequence, [L] int32."""
  return np.array([*tokenizer.encode(text), EOS_ID], np.int32)


def _lacks(missing, row, of="") -> str:
  """Returns the error for a row in which these fields are missing or null."""
  null = [name for name, value in row.items() if value is None]
  return (
    f"no field {', '.join(map(repr, missing))}{of}; the row has"
    f" {', '.join(row) or 'none'}"
    + (f", of which {', '.join(null)} null" if null else "")
    + templates.hint(missing[0])
  )
