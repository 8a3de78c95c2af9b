"""SQuAD (Rajpurkar et al., 2016) and four of MRQA (Fisch et al., 2019).

The model generates the answer. Any of a question's answers is right, and the
first one is the training target. Punctuation stays as it is. T5 1.0 put spaces
around it, but a user's question would have none.
"""

from mpt_jax.tasks import readers
from mpt_jax.tasks.forms import Answers
from mpt_jax.tasks.splits import CARVE
from mpt_jax.tasks.tfds_tasks import Dataset
from mpt_jax.tasks.user_files import UserFiles

_TEMPLATE = "question: {question} context: {context}"


def prepare_squad(row: dict) -> dict:
  return {**row, "answers": row["answers"]["text"]}


def _mrqa(task, config, file_names, counts, owner, licence):
  """Declares a dataset of MRQA, without the token lists beside the texts."""
  return Dataset(
    f"mrqa/{config}:1.*.*",
    _TEMPLATE,
    Answers(),
    CARVE,
    columns=("question", "context", "answers"),
    files=UserFiles(
      folder=f"mrqa_{task}",
      names={
        "train": tuple(f"train/{name}.jsonl.gz" for name in file_names),
        "validation": tuple(f"dev/{name}.jsonl.gz" for name in file_names),
      },
      read=readers.JsonLines(readers.mrqa),
      origin="https://github.com/mrqa/MRQA-Shared-Task-2019",
      owner=f"{owner}, Fisch et al. (2019)",
      licence=licence,
      size="not known here",
      counts=dict(zip(("train", "validation"), counts, strict=True)),
      also=(f"mrqa/{config}", "mrqa"),
    ),
  )


DATASETS = {
  "squad": Dataset(
    "squad/v1.1:3.*.*",
    _TEMPLATE,
    Answers(),
    CARVE,
    prepare=prepare_squad,
    files=UserFiles(
      folder="squad",
      names={"train": "train-v1.1.json", "validation": "dev-v1.1.json"},
      read=readers.read_squad,
      origin="https://rajpurkar.github.io/SQuAD-explorer/",
      owner="Rajpurkar et al. (2016)",
      licence="CC BY-SA 4.0",
      size="35 MB",
      counts={"train": 87599, "validation": 10570},
    ),
  ),
  "mrqa_natural_questions": _mrqa(
    "natural_questions",
    "natural_questions",
    # The owner's scripts save the file under the second name.
    ("NaturalQuestionsShort", "NaturalQuestions"),
    (104071, 12836),
    "Kwiatkowski et al. (2019), Google",
    "CC BY-SA 3.0",
  ),
  "mrqa_hotpotqa": _mrqa(
    "hotpotqa",
    "hotpot_qa",
    ("HotpotQA",),
    # The owner's page says 5,904, which was an earlier release.
    (72928, 5901),
    "Yang et al. (2018)",
    "CC BY-SA 4.0",
  ),
  "mrqa_searchqa": _mrqa(
    "searchqa",
    "search_qa",
    ("SearchQA",),
    (117384, 16980),
    "Dunn et al. (2017)",
    "not stated; see the owner",
  ),
  "mrqa_newsqa": _mrqa(
    "newsqa",
    "news_qa",
    ("NewsQA",),
    (74160, 4212),
    "Trischler et al. (2017), Microsoft",
    "Microsoft Research's own",
  ),
}
