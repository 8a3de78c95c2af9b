"""GLUE (Wang et al., 2018), eight tasks, through TFDS.

Its public test splits have no labels (-1) and are never read. The inputs are
those of the prompt tuning papers that MPT compares with. `NAME_prefixed` has T5
1.0's inputs and label words.
"""

from mpt_jax.tasks.forms import Labels, Score
from mpt_jax.tasks.splits import CARVE, HALVE, Splits
from mpt_jax.tasks.tfds_tasks import Dataset

_EQUIVALENT = ("not_equivalent", "equivalent")
_ENTAILMENT = ("entailment", "not_entailment")
_SENTENCES = "sentence1: {sentence1} sentence2: {sentence2}"

DATASETS = {
  "glue_cola": Dataset(
    "glue/cola:2.*.*",
    "sentence: {sentence}",
    Labels(("unacceptable", "acceptable")),
    HALVE,
    metric_fns=("matthews", "accuracy"),
    metric="matthews",
    t5_template="cola sentence: {sentence}",
  ),
  "glue_sst2": Dataset(
    "glue/sst2:2.*.*",
    "sentence: {sentence}",
    Labels(("negative", "positive")),
    CARVE,
    t5_template="sst2 sentence: {sentence}",
  ),
  "glue_mrpc": Dataset(
    "glue/mrpc:2.*.*",
    _SENTENCES,
    Labels(_EQUIVALENT),
    HALVE,
    metric_fns=("accuracy", "f1"),
    t5_template="mrpc " + _SENTENCES,
  ),
  "glue_qqp": Dataset(
    "glue/qqp:2.*.*",
    "question1: {question1} question2: {question2}",
    Labels(("not_duplicate", "duplicate")),
    CARVE,
    metric_fns=("accuracy", "f1"),
    t5_template="qqp question1: {question1} question2: {question2}",
  ),
  "glue_stsb": Dataset(
    "glue/stsb:2.*.*",
    _SENTENCES,
    Score(),
    HALVE,
    t5_template="stsb " + _SENTENCES,
  ),
  # `test` is the matched validation split, `test_mismatched` the mismatched
  # one.
  "glue_mnli": Dataset(
    "glue/mnli:2.*.*",
    "premise: {premise} hypothesis: {hypothesis}",
    Labels(("entailment", "neutral", "contradiction")),
    Splits(
      "carve",
      test="validation_matched",
      others={"test_mismatched": "validation_mismatched"},
    ),
    t5_template="mnli hypothesis: {hypothesis} premise: {premise}",
  ),
  "glue_qnli": Dataset(
    "glue/qnli:2.*.*",
    "question: {question} sentence: {sentence}",
    Labels(_ENTAILMENT),
    CARVE,
    t5_template="qnli question: {question} sentence: {sentence}",
  ),
  "glue_rte": Dataset(
    "glue/rte:2.*.*",
    _SENTENCES,
    Labels(_ENTAILMENT),
    HALVE,
    t5_template="rte " + _SENTENCES,
  ),
}
