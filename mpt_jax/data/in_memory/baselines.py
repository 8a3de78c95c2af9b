"""Answers without a T5, from the same training rows.

"majority" gives every text the most frequent label, the mean number or the most
frequent answer. "tfidf" fits logistic regression (for numbers: ridge
regression) to tf-idf, and takes the answer of the most similar training text
where texts are generated.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

MAJORITY, TFIDF = "majority", "tfidf"


def answer(
  kind: str,
  texts: Sequence[str],
  targets: Sequence[str],
  asked: Sequence[str],
) -> dict[str, list[str]]:
  """Answers texts by both baselines.

  Args:
    kind: "labels", "number" or "text".
    texts: the training texts.
    targets: their answers; texts of numbers for "number".
    asked: the texts to answer.

  Returns:
    {MAJORITY: answers, TFIDF: answers}.

  >>> texts = ["red rose", "red wine", "blue sky"]
  >>> answer("labels", texts, ["x", "x", "y"], ["blue sky"])
  {'majority': ['x'], 'tfidf': ['y']}
  """
  if kind == "number":
    majority = f"{np.mean([float(target) for target in targets]):.6g}"
  else:
    # The first of equally frequent ones in the order of the alphabet.
    counts = Counter(targets)
    majority = min(counts, key=lambda text: (-counts[text], text))
  return {
    MAJORITY: [majority] * len(asked),
    TFIDF: _by_tfidf(kind, texts, targets, asked),
  }


def answer_task(
  task, split: str = "test", max_examples: int | None = None
) -> tuple[dict[str, list[str]], list[str]]:
  """Answers a classification task by both baselines.

  Args:
    task: a task over `text_tasks.ExamplesSource`; a few-shot draw has the
      draw's training texts.
    split: the split to answer.
    max_examples: answer the first so many of its examples; None for all.

  Returns:
    ({MAJORITY: labels, TFIDF: labels}, the right labels).
  """
  texts, labels = zip(*task.source.examples("train"), strict=True)
  asked, right = zip(*task.source.examples(split)[:max_examples], strict=True)
  return answer("labels", texts, labels, asked), list(right)


def _by_tfidf(kind, texts, targets, asked):
  from sklearn.feature_extraction.text import TfidfVectorizer
  from sklearn.linear_model import LogisticRegression, Ridge

  vectorizer = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2))
  try:
    known = vectorizer.fit_transform(texts)
  except ValueError:  # No text has a word.
    return [targets[0]] * len(asked)
  new = vectorizer.transform(asked)
  if kind == "text":
    nearest = (new @ known.T).argmax(axis=1)
    return [targets[i] for i in np.asarray(nearest).ravel()]
  if kind == "number":
    ridge = Ridge(alpha=1.0).fit(known, [float(t) for t in targets])
    return [f"{value:.6g}" for value in ridge.predict(new)]
  if len(set(targets)) == 1:
    return [targets[0]] * len(asked)
  # This solver is much faster with many classes and texts.
  model = LogisticRegression(C=10.0, max_iter=300, solver="newton-cg")
  return model.fit(known, targets).predict(new).tolist()
