"""GLUE (Wang et al., 2018), eight tasks, from its files or through TFDS.

Its public test splits have no labels (-1) and are never read. The inputs are
those of the prompt tuning papers that MPT compares with. `NAME_prefixed` has T5
1.0's inputs and label words.
"""

import dataclasses

from mpt_jax.tasks import readers
from mpt_jax.tasks.forms import Labels, Score
from mpt_jax.tasks.splits import CARVE, HALVE, Splits
from mpt_jax.tasks.tfds_tasks import Dataset
from mpt_jax.tasks.user_files import UserFiles

_EQUIVALENT = ("not_equivalent", "equivalent")
_ENTAILMENT = ("entailment", "not_entailment")
_SENTENCES = "sentence1: {sentence1} sentence2: {sentence2}"
_NOT_STATED = "not stated; see the owner"


def _files(
  task, folder, archive, read, counts, *, owner, licence, size, names=None
):
  """Declares the files of a task.

  Args:
    task: the task, whose name the folder below `$MPT_DATA_DIR` has.
    folder: the folder in GLUE's archive.
    archive: the name of the archive.
    read: a reader, or {feature: column} of a table.
    counts: rows of train and of the validation splits.
    owner: of the texts.
    licence: of the texts.
    size: of the archive.
    names: {split: file name}; the default is GLUE's train.tsv and dev.tsv.
  """
  names = names or {"train": "train.tsv", "validation": "dev.tsv"}
  if not callable(read):
    read = readers.Table(read, ragged=True)
  return UserFiles(
    folder=task,
    names=names,
    read=read,
    origin=f"https://dl.fbaipublicfiles.com/glue/data/{archive}.zip",
    owner=owner,
    licence=licence,
    size=size,
    counts=dict(zip(names, counts, strict=True)),
    also=(f"glue/{folder}", f"glue_data/{folder}", folder),
    inside=(folder,),
  )


def _pair(first, second, label="label"):
  """The columns of a table whose features have the columns' names."""
  return {first: first, second: second, "label": label}


FILES = {
  # The only table without a header.
  "glue_cola": _files(
    "glue_cola",
    "CoLA",
    "CoLA",
    readers.Table(
      {"sentence": "sentence", "label": "label"},
      header=("source", "label", "mark", "sentence"),
      ragged=True,
    ),
    (8551, 1043),
    owner="Warstadt et al. (2018)",
    licence="not stated; quotations from the linguistic literature",
    size="0.4 MB",
  ),
  "glue_sst2": _files(
    "glue_sst2",
    "SST-2",
    "SST-2",
    {"sentence": "sentence", "label": "label"},
    (67349, 872),
    owner="Socher et al. (2013)",
    licence=_NOT_STATED,
    size="7.4 MB",
  ),
  "glue_mrpc": dataclasses.replace(
    _files(
      "glue_mrpc",
      "MRPC",
      "MRPC",
      readers.read_mrpc,
      (3668, 408),
      owner="Dolan and Brockett (2005), Microsoft",
      licence="Microsoft Research's own",
      size="1.5 MB",
      names={
        "train": ("train.tsv", "msr_paraphrase_train.txt"),
        "validation": ("dev.tsv", "msr_paraphrase_train.txt"),
      },
    ),
    origin="https://dl.fbaipublicfiles.com/senteval/senteval_data/"
    "msr_paraphrase_train.txt, with GLUE's mrpc_dev_ids.tsv",
  ),
  "glue_qqp": _files(
    "glue_qqp",
    "QQP",
    "QQP",
    _pair("question1", "question2", "is_duplicate"),
    (363846, 40430),
    owner="Iyer et al. (2017), Quora",
    licence="Quora's terms of service",
    size="42 MB",
  ),
  "glue_stsb": _files(
    "glue_stsb",
    "STS-B",
    "STS-B",
    readers.Table(
      _pair("sentence1", "sentence2", "score"),
      convert={"label": float},
      ragged=True,
    ),
    (5749, 1500),
    owner="Cer et al. (2017)",
    licence="CC BY-SA 4.0 for most of its sources",
    size="0.8 MB",
  ),
  "glue_mnli": _files(
    "glue_mnli",
    "MNLI",
    "MNLI",
    {"premise": "sentence1", "hypothesis": "sentence2", "label": "gold_label"},
    (392702, 9815, 9832),
    owner="Williams et al. (2018)",
    licence="OANC's, and others for fiction; see the owner",
    size="313 MB",
    names={
      "train": "train.tsv",
      "validation_matched": "dev_matched.tsv",
      "validation_mismatched": "dev_mismatched.tsv",
    },
  ),
  "glue_qnli": _files(
    "glue_qnli",
    "QNLI",
    "QNLIv2",
    _pair("question", "sentence"),
    (104743, 5463),
    owner="Rajpurkar et al. (2016), Wang et al. (2018)",
    licence="CC BY-SA 4.0",
    size="11 MB",
  ),
  "glue_rte": _files(
    "glue_rte",
    "RTE",
    "RTE",
    _pair("sentence1", "sentence2"),
    (2490, 277),
    owner="Dagan et al. (2006) and later challenges",
    licence=_NOT_STATED,
    size="0.7 MB",
  ),
}

DATASETS = {
  "glue_cola": Dataset(
    "glue/cola:2.*.*",
    "sentence: {sentence}",
    Labels(("unacceptable", "acceptable")),
    HALVE,
    metric_fns=("matthews", "accuracy"),
    metric="matthews",
    t5_template="cola sentence: {sentence}",
    files=FILES["glue_cola"],
  ),
  "glue_sst2": Dataset(
    "glue/sst2:2.*.*",
    "sentence: {sentence}",
    Labels(("negative", "positive")),
    CARVE,
    t5_template="sst2 sentence: {sentence}",
    files=FILES["glue_sst2"],
  ),
  "glue_mrpc": Dataset(
    "glue/mrpc:2.*.*",
    _SENTENCES,
    Labels(_EQUIVALENT),
    HALVE,
    metric_fns=("accuracy", "f1"),
    t5_template="mrpc " + _SENTENCES,
    files=FILES["glue_mrpc"],
  ),
  "glue_qqp": Dataset(
    "glue/qqp:2.*.*",
    "question1: {question1} question2: {question2}",
    Labels(("not_duplicate", "duplicate")),
    CARVE,
    metric_fns=("accuracy", "f1"),
    t5_template="qqp question1: {question1} question2: {question2}",
    files=FILES["glue_qqp"],
  ),
  "glue_stsb": Dataset(
    "glue/stsb:2.*.*",
    _SENTENCES,
    Score(),
    HALVE,
    t5_template="stsb " + _SENTENCES,
    files=FILES["glue_stsb"],
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
    files=FILES["glue_mnli"],
  ),
  "glue_qnli": Dataset(
    "glue/qnli:2.*.*",
    "question: {question} sentence: {sentence}",
    Labels(_ENTAILMENT),
    CARVE,
    t5_template="qnli question: {question} sentence: {sentence}",
    files=FILES["glue_qnli"],
  ),
  "glue_rte": Dataset(
    "glue/rte:2.*.*",
    _SENTENCES,
    Labels(_ENTAILMENT),
    HALVE,
    t5_template="rte " + _SENTENCES,
    files=FILES["glue_rte"],
  ),
}
