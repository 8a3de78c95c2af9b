"""Metric functions as seqio wants them: (targets, predictions) -> values.

Values are fractions in 0..1, correlations in -1..1, and BLEU in 0..100 as
sacrebleu reports it. Class ids are ints. The id -1 stands for a prediction
that is not a label, and counts as wrong.
"""

import functools
import re
import string
from collections.abc import Callable, Mapping, Sequence

import numpy as np

# For each example the right text, or a list of right texts.
Texts = Sequence[str | Sequence[str]]


def _check_lengths(targets, predictions, answers=False):
  """Checks the arguments of a metric.

  Args:
    targets: the targets.
    predictions: the predictions.
    answers: whether a target may be a list of right answers.
  """
  if len(targets) != len(predictions):
    raise ValueError(
      f"targets and predictions differ in length: {len(targets)} and"
      f" {len(predictions)}"
    )
  if not len(targets):
    raise ValueError("metrics need at least one example, got none")
  if not answers and any(isinstance(target, list) for target in targets):
    raise ValueError(
      "a target has several right answers, which only the metrics exact_match,"
      " squad and those of BLEU and ROUGE can compare"
    )


def as_numbers(made: Mapping) -> dict[str, float]:
  """Returns the numbers among what a metric function made.

  seqio's metrics may be objects. `Scalar` has a value; others, such as `Text`,
  are to be shown, and are left out.

  >>> as_numbers({"accuracy": np.float32(0.5)})
  {'accuracy': 0.5}
  """
  values = {
    name: getattr(value, "value", value) for name, value in made.items()
  }
  return {
    name: float(value)
    for name, value in values.items()
    if type(value).__module__ != "seqio.metrics"
  }


def accuracy(targets: Sequence, predictions: Sequence) -> dict[str, float]:
  """Returns the share of predictions that equal their target.

  >>> accuracy([0, 1, 1, 0], [0, 1, 0, -1])
  {'accuracy': 0.5}
  """
  _check_lengths(targets, predictions)
  hits = [t == p for t, p in zip(targets, predictions, strict=True)]
  return {"accuracy": float(np.mean(hits))}


def balanced_accuracy(
  targets: Sequence[int], predictions: Sequence[int]
) -> dict[str, float]:
  """Returns the mean recall of the classes that occur among the targets.

  >>> balanced_accuracy([0, 0, 0, 1], [0, 0, 0, 0])
  {'balanced_accuracy': 0.5}
  """
  _check_lengths(targets, predictions)
  targets, predictions = np.asarray(targets), np.asarray(predictions)
  recalls = [
    np.mean(predictions[targets == label] == label)
    for label in np.unique(targets)
  ]
  return {"balanced_accuracy": float(np.mean(recalls))}


def f1_macro(
  targets: Sequence[int],
  predictions: Sequence[int],
  num_classes: int | None = None,
) -> dict[str, float]:
  """Returns the unweighted mean of the F1 of each class.

  Args:
    targets: class ids.
    predictions: class ids.
    num_classes: averages over the classes 0..num_classes - 1, as SuperGLUE does
      for CB; the F1 of a class that never occurs is 0. None averages over the
      classes that occur among the targets.
  """
  from sklearn import metrics as sklearn_metrics

  _check_lengths(targets, predictions)
  labels = sorted(set(targets)) if num_classes is None else range(num_classes)
  score = sklearn_metrics.f1_score(
    targets,
    predictions,
    labels=list(labels),
    average="macro",
    zero_division=0,
  )
  return {"f1_macro": float(score)}


def f1(targets: Sequence[int], predictions: Sequence[int]) -> dict[str, float]:
  """Returns the F1 of class 1 of two classes, as MRPC and QQP report it.

  A prediction that is neither 0 nor 1 counts as the wrong class.

  >>> f1([1, 1, 0], [1, 0, 0])["f1"]  # P = 1, R = 1/2
  0.6666666666666666
  """
  from sklearn import metrics as sklearn_metrics

  _check_lengths(targets, predictions)
  targets, predictions = np.asarray(targets), np.asarray(predictions)
  known = np.isin(predictions, (0, 1))
  score = sklearn_metrics.f1_score(
    targets, np.where(known, predictions, 1 - targets), zero_division=0
  )
  return {"f1": float(score)}


def multirc(
  targets: Sequence[tuple[str, int]], predictions: Sequence[tuple[str, int]]
) -> dict[str, float]:
  """Returns MultiRC's F1a and exact match (Khashabi et al., 2018).

  Args:
    targets: (question, class) of each answer option; class 1 is correct.
    predictions: the same pairs with the predicted classes.

  Returns:
    "f1a": F1 of class 1 over all options of all questions; "em": share of
    questions for which all options are classified correctly.
  """
  _check_lengths(targets, predictions)
  right = {}
  for (question, target), (_, prediction) in zip(
    targets, predictions, strict=True
  ):
    right[question] = right.get(question, True) and target == prediction
  classes = ([value for _, value in pairs] for pairs in (targets, predictions))
  return {
    "f1a": f1(*classes)["f1"],
    "em": float(np.mean(list(right.values()))),
  }


def matthews(
  targets: Sequence[int], predictions: Sequence[int]
) -> dict[str, float]:
  """Returns the Matthews correlation (CoLA), 0 if one side is constant."""
  from sklearn import metrics as sklearn_metrics

  _check_lengths(targets, predictions)
  if len(set(targets) | set(predictions)) == 1:
    return {"matthews": 0.0}
  score = sklearn_metrics.matthews_corrcoef(targets, predictions)
  return {"matthews": float(score)}


def pearson_spearman(
  targets: Sequence[float | str], predictions: Sequence[float | str]
) -> dict[str, float]:
  """Returns the Pearson and Spearman correlations, as STS-B reports them.

  Texts are converted to numbers. A text that is not a number counts as 0, the
  lower end of the STS-B scale. If one side is constant, both values are 0.
  """
  from scipy import stats

  _check_lengths(targets, predictions)
  targets = np.array([_number(value) for value in targets])
  predictions = np.array([_number(value) for value in predictions])
  if np.ptp(targets) == 0 or np.ptp(predictions) == 0:
    return {"pearson": 0.0, "spearman": 0.0}
  return {
    "pearson": float(stats.pearsonr(targets, predictions)[0]),
    "spearman": float(stats.spearmanr(targets, predictions)[0]),
  }


def _number(value):
  try:
    number = float(value)
  except ValueError:
    return 0.0
  return number if np.isfinite(number) else 0.0


def exact_match(targets: Texts, predictions: Sequence[str]) -> dict[str, float]:
  """Returns the share of predictions that equal a right answer, both stripped.

  Args:
    targets: the answer, or the list of right answers, of each example.
    predictions: one text per example.

  >>> exact_match(["a", ["b", "c"], "d"], ["a ", "c", "e"])["exact_match"]
  0.6666666666666666
  """
  _check_lengths(targets, predictions, answers=True)
  hits = [
    str(prediction).strip() in [str(text).strip() for text in _answers(target)]
    for target, prediction in zip(targets, predictions, strict=True)
  ]
  return {"exact_match": float(np.mean(hits))}


def _answers(target) -> list:
  """Returns all right answers of a target."""
  return list(target) if isinstance(target, list | tuple) else [target]


def squad(targets: Texts, predictions: Sequence[str]) -> dict[str, float]:
  """Returns SQuAD's exact match and token F1, for the best matching answer.

  Texts are compared in lower case, without punctuation and articles
  (Rajpurkar et al., 2016).

  Args:
    targets: the answer, or the list of answers, of each question.
    predictions: one text per question. If neither answer nor prediction has a
      word left, they match but the F1 is 0, as in the scripts of SQuAD 1.1,
      MRQA and ReCoRD. (It is 1 in SQuAD 2.0.)
  """
  _check_lengths(targets, predictions, answers=True)
  matches, f1s = [], []
  for answers, prediction in zip(targets, predictions, strict=True):
    answers = _answers(answers)
    words = _answer_words(prediction)
    gold = [_answer_words(answer) for answer in answers] or [[]]
    matches.append(max(words == answer for answer in gold))
    f1s.append(max(_word_f1(answer, words) for answer in gold))
  return {"em": float(np.mean(matches)), "f1": float(np.mean(f1s))}


def _answer_words(text):
  text = "".join(c for c in text.lower() if c not in string.punctuation)
  return re.sub(r"\b(a|an|the)\b", " ", text).split()


def _word_f1(gold, words):
  if not gold or not words:
    return 0.0
  rest = list(gold)
  common = 0
  for word in words:
    if word in rest:
      rest.remove(word)
      common += 1
  # 2PR / (P + R) with P = common / words and R = common / gold.
  return 2 * common / (len(gold) + len(words))


def _bleu(targets, predictions, missing, **options):
  """Returns sacrebleu's corpus BLEU.

  Args:
    targets: the reference, or the list of references, of each example.
    predictions: one text per example.
    missing: what stands for a reference where an example has fewer than
      another: None for nothing, or a text.
    **options: of `sacrebleu.corpus_bleu`.
  """
  import sacrebleu

  _check_lengths(targets, predictions, answers=True)
  references = [_answers(target) for target in targets]
  most = max(len(group) for group in references)
  # sacrebleu takes one stream per reference.
  streams = [
    [group[i] if i < len(group) else missing for group in references]
    for i in range(most)
  ]
  return float(
    sacrebleu.corpus_bleu(list(predictions), streams, **options).score
  )


def bleu(targets: Texts, predictions: Sequence[str]) -> dict[str, float]:
  """Returns sacrebleu's corpus BLEU in 0..100, for one or more references."""
  return {"bleu": _bleu(targets, predictions, None)}


def bleu_e2e(targets: Texts, predictions: Sequence[str]) -> dict[str, float]:
  """Returns BLEU in 0..100 as the E2E challenge computes it.

  Its e2e-metrics run mteval-v13a, which ignores case, in an edition in which a
  missing reference counts nothing. In all else, tokens and smoothing included,
  sacrebleu does the same.
  """
  return {"bleu_e2e": _bleu(targets, predictions, None, lowercase=True)}


def bleu_webnlg(targets: Texts, predictions: Sequence[str]) -> dict[str, float]:
  """Returns BLEU in 0..100 as the WebNLG challenge of 2020 computes it.

  Its GenerationEval runs multi-bleu-detok.perl on one file per reference. Where
  an example has fewer references than another, its line in a file is empty, and
  counts as a reference of length 0. A prediction of at most half the length of
  the shortest other reference therefore has no brevity penalty.
  """
  return {"bleu_webnlg": _bleu(targets, predictions, "", smooth_method="none")}


# A bootstrap scores the same pairs again and again.
@functools.lru_cache(maxsize=2**16)
def _rouge_of(answers: tuple[str, ...], prediction: str) -> dict[str, float]:
  from rouge_score import rouge_scorer

  scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"])
  made = scorer.score_multi(answers, prediction)
  return {name: float(score.fmeasure) for name, score in made.items()}


def _rouge(name, targets, predictions):
  _check_lengths(targets, predictions, answers=True)
  scores = [
    _rouge_of(tuple(map(str, _answers(target))), str(prediction))[name]
    for target, prediction in zip(targets, predictions, strict=True)
  ]
  return {name: float(np.mean(scores))}


def rouge1(targets: Texts, predictions: Sequence[str]) -> dict[str, float]:
  """Returns ROUGE-1 (Lin, 2004): the mean F1 of words, in 0..1.

  `rouge_score` computes it, without stemming. A text's words are its Latin
  letters and digits, in lower case.

  Args:
    targets: the references of each example; the best of them counts.
    predictions: one text per example.

  >>> rouge1(["a b c d"], ["b a"])["rouge1"]  # P = 1, R = 1/2
  0.6666666666666666
  """
  return _rouge("rouge1", targets, predictions)


def rouge2(targets: Texts, predictions: Sequence[str]) -> dict[str, float]:
  """Returns ROUGE-2: the mean F1 of pairs of neighbouring words; see `rouge1`.

  >>> rouge2(["a b c"], ["a b d"])
  {'rouge2': 0.5}
  """
  return _rouge("rouge2", targets, predictions)


def rougeL(targets: Texts, predictions: Sequence[str]) -> dict[str, float]:
  """Returns ROUGE-L: F1 of the longest common subsequence; see `rouge1`.

  >>> rougeL(["a b c d"], ["a c x y"])
  {'rougeL': 0.5}
  """
  return _rouge("rougeL", targets, predictions)


def rougeLsum(targets: Texts, predictions: Sequence[str]) -> dict[str, float]:
  r"""Returns ROUGE-L of summaries: as `rougeL`, but line by line.

  Each line is a sentence. What a sentence has in common with any sentence of
  the other text counts.

  >>> rougeLsum(["a b\nc d"], ["c d\na b"])
  {'rougeLsum': 1.0}
  """
  return _rouge("rougeLsum", targets, predictions)


METRICS: dict[str, Callable[[Sequence, Sequence], dict[str, float]]] = {
  "accuracy": accuracy,
  "balanced_accuracy": balanced_accuracy,
  "f1_macro": f1_macro,
  "f1": f1,
  "multirc": multirc,
  "matthews": matthews,
  "pearson_spearman": pearson_spearman,
  "exact_match": exact_match,
  "squad": squad,
  "bleu": bleu,
  "bleu_e2e": bleu_e2e,
  "bleu_webnlg": bleu_webnlg,
  "rouge1": rouge1,
  "rouge2": rouge2,
  "rougeL": rougeL,
  "rougeLsum": rougeLsum,
}
