"""Baselines without a T5: majority, and tf-idf with logistic regression."""

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from mpt_jax.data import metrics


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
  values, counts = np.unique(labels, return_counts=True)
  majority = [str(values[counts.argmax()])] * len(test_labels)
  model = make_pipeline(
    TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2)),
    # This solver is much faster with many classes and texts.
    LogisticRegression(C=10.0, max_iter=300, solver="newton-cg"),
  )
  model.fit(texts, labels)
  for method, predicted in (
    ("majority", majority),
    ("tfidf_lr", model.predict(test_texts).tolist()),
  ):
    values = {"num_examples": len(test_labels)}
    for metric in ("accuracy", "balanced_accuracy"):
      values |= metrics.METRICS[metric](list(test_labels), predicted)
    yield method, values
