"""SQuAD (Rajpurkar et al., 2016) and four of MRQA (Fisch et al., 2019).

The model generates the answer. Any of a question's answers is right, and the
first one is the training target. Punctuation stays as it is. T5 1.0 put spaces
around it, but a user's question would have none.
"""

from mpt_jax.tasks import user_files
from mpt_jax.tasks.forms import Answers
from mpt_jax.tasks.splits import CARVE
from mpt_jax.tasks.tfds_tasks import Dataset

_TEMPLATE = "question: {question} context: {context}"


def prepare_squad(row: dict) -> dict:
  return {**row, "answers": row["answers"]["text"]}


def _mrqa(config, file_name):
  """Declares a dataset of MRQA, without the token lists beside the texts."""
  return Dataset(
    f"mrqa/{config}:1.*.*",
    _TEMPLATE,
    Answers(),
    CARVE,
    columns=("question", "context", "answers"),
    files=user_files.UserFiles(
      f"mrqa/{config}",
      {
        "train": f"train/{file_name}.jsonl.gz",
        "validation": f"dev/{file_name}.jsonl.gz",
      },
      "https://github.com/mrqa/MRQA-Shared-Task-2019",
      user_files.read_mrqa,
    ),
  )


DATASETS = {
  "squad": Dataset(
    "squad/v1.1:3.*.*",
    _TEMPLATE,
    Answers(),
    CARVE,
    prepare=prepare_squad,
  ),
  "mrqa_natural_questions": _mrqa("natural_questions", "NaturalQuestionsShort"),
  "mrqa_hotpotqa": _mrqa("hotpot_qa", "HotpotQA"),
  "mrqa_searchqa": _mrqa("search_qa", "SearchQA"),
  "mrqa_newsqa": _mrqa("news_qa", "NewsQA"),
}
