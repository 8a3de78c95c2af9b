"""Baselines without a T5: majority, and tf-idf with logistic regression."""

from mpt_jax.data import metrics
from mpt_jax.data.in_memory.baselines import MAJORITY, TFIDF, answer


def baselines(task, max_examples: int):
  """Fits both baselines to a task's training texts and tests them.

  Args:
    task: a classification task over `text_tasks.ExamplesSource`; a few-shot
      draw has the draw's training texts.
    max_examples: the number of test examples; the first ones are used.

  Yields:
    (method, metrics) of "majority" and "tfidf_lr"; the names of the metrics are
    those of `mpt.evaluate`.
  """
  texts, labels = zip(*task.source.examples("train"), strict=True)
  test_texts, test_labels = zip(
    *task.source.examples("test")[:max_examples], strict=True
  )
  made = answer("labels", texts, labels, test_texts)
  for method, name in (("majority", MAJORITY), ("tfidf_lr", TFIDF)):
    values = {"num_examples": len(test_labels)}
    for metric in ("accuracy", "balanced_accuracy"):
      values |= metrics.METRICS[metric](list(test_labels), made[name])
    yield method, values
