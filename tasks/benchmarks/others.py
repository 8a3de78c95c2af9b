"""WinoGrande, Yelp polarity, SciTail and PAWS-Wiki, from files or TFDS.

All four are classification. WinoGrande's two options are in the input, and the
target says which one fills the gap. SciTail, PAWS-Wiki and Yelp have labelled
test splits; Yelp has no validation split.
"""

from mpt_jax.tasks import readers
from mpt_jax.tasks.forms import Labels
from mpt_jax.tasks.splits import OWN, Splits
from mpt_jax.tasks.tfds_tasks import Dataset
from mpt_jax.tasks.user_files import UserFiles

DATASETS = {
  "winogrande": Dataset(
    "winogrande:1.*.*",
    "sentence: {sentence} option0: {option1} option1: {option2}",
    Labels(("1", "2")),
    Splits("carve", train="train_xl"),
    files=UserFiles(
      folder="winogrande",
      names={"train_xl": "train_xl.jsonl", "validation": "dev.jsonl"},
      read=readers.JsonLines(readers.winogrande),
      origin="https://winogrande.allenai.org/ (winogrande_1.1.zip)",
      owner="Sakaguchi et al. (2020), Allen Institute for AI",
      licence="CC BY, without a version",
      size="3.4 MB",
      counts={"train_xl": 40398, "validation": 1267},
      # The owner's script renames the archive's folder.
      inside=("winogrande_1.1", "data"),
    ),
  ),
  "yelp_polarity": Dataset(
    "yelp_polarity_reviews:0.*.*",
    "sentence: {text}",
    Labels(("negative", "positive")),
    Splits("carve", test="test"),
    files=UserFiles(
      folder="yelp_polarity",
      names={"train": "train.csv", "test": "test.csv"},
      read=readers.read_yelp,
      origin="https://s3.amazonaws.com/fast-ai-nlp/yelp_review_polarity_csv.tgz",
      owner="Zhang et al. (2015), Yelp",
      licence="Yelp's terms of use",
      size="166 MB",
      counts={"train": 560000, "test": 38000},
      inside=("yelp_review_polarity_csv",),
    ),
  ),
  "scitail": Dataset(
    "sci_tail:1.*.*",
    "premise: {premise} hypothesis: {hypothesis}",
    Labels(("entails", "neutral")),
    OWN,
    # Quotes are literal, so that there are 23,596 rows for training. TFDS takes
    # them for CSV's and has 23,097.
    files=UserFiles(
      folder="scitail",
      names={
        "train": "scitail_1.0_train.tsv",
        "validation": "scitail_1.0_dev.tsv",
        "test": "scitail_1.0_test.tsv",
      },
      read=readers.Table(
        {name: name for name in ("premise", "hypothesis", "label")},
        header=("premise", "hypothesis", "label"),
      ),
      origin="tsv_format of SciTailV1.1.zip, https://allenai.org/data/scitail",
      owner="Khot et al. (2018), Allen Institute for AI",
      licence="not stated; see the owner",
      size="14 MB",
      counts={"train": 23596, "validation": 1304, "test": 2126},
      inside=("tsv_format", "SciTailV1.1/tsv_format"),
    ),
  ),
  "paws_wiki": Dataset(
    "paws_wiki/labeled_final_tokenized:1.*.*",
    "sentence1: {sentence1} sentence2: {sentence2}",
    Labels(("different_meaning", "paraphrase")),
    OWN,
    files=UserFiles(
      folder="paws_wiki",
      names={
        "train": "train.tsv",
        "validation": "dev.tsv",
        "test": "test.tsv",
      },
      read=readers.Table(
        {name: name for name in ("sentence1", "sentence2", "label")},
        quotes=True,
      ),
      origin="https://github.com/google-research-datasets/paws"
      " (paws_wiki_labeled_final.tar.gz)",
      owner="Zhang et al. (2019), Google",
      licence="free for any purpose; Google asks to be acknowledged",
      size="4.7 MB",
      counts={"train": 49401, "validation": 8000, "test": 8000},
      inside=("final",),
    ),
  ),
}
