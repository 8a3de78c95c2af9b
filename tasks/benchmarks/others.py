"""WinoGrande, Yelp polarity, SciTail and PAWS-Wiki, through TFDS.

All four are classification. WinoGrande's two options are in the input, and the
target says which one fills the gap. SciTail, PAWS-Wiki and Yelp have labelled
test splits; Yelp has no validation split.
"""

from mpt_jax.tasks import user_files
from mpt_jax.tasks.forms import Labels
from mpt_jax.tasks.splits import OWN, Splits
from mpt_jax.tasks.tfds_tasks import Dataset

DATASETS = {
  "winogrande": Dataset(
    "winogrande:1.*.*",
    "sentence: {sentence} option0: {option1} option1: {option2}",
    Labels(("1", "2")),
    Splits("carve", train="train_xl"),
  ),
  "yelp_polarity": Dataset(
    "yelp_polarity_reviews:0.*.*",
    "sentence: {text}",
    Labels(("negative", "positive")),
    Splits("carve", test="test"),
  ),
  "scitail": Dataset(
    "sci_tail:1.*.*",
    "premise: {premise} hypothesis: {hypothesis}",
    Labels(("entails", "neutral")),
    OWN,
    files=user_files.UserFiles(
      "scitail",
      {
        "train": "scitail_1.0_train.tsv",
        "validation": "scitail_1.0_dev.tsv",
        "test": "scitail_1.0_test.tsv",
      },
      "tsv_format of SciTailV1.1.zip, https://allenai.org/data/scitail",
      user_files.read_scitail,
    ),
  ),
  "paws_wiki": Dataset(
    "paws_wiki/labeled_final_tokenized:1.*.*",
    "sentence1: {sentence1} sentence2: {sentence2}",
    Labels(("different_meaning", "paraphrase")),
    OWN,
  ),
}
