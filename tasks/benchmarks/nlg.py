"""E2E and WebNLG: text from data, BLEU over all references.

`e2e_nlg` (the cleaned texts of Dušek et al., 2019) and `web_nlg` (the English
part of WebNLG 2020) are GEM's (Gehrmann et al., 2021), through TFDS;
`e2e_nlg_2017` is the first E2E (Novikova et al., 2017), which TFDS does not
have; it is read from files. It is not known which of them the paper used.
"""

from mpt_jax.tasks import user_files
from mpt_jax.tasks.forms import References
from mpt_jax.tasks.splits import OWN
from mpt_jax.tasks.tfds_tasks import Dataset

_E2E_TEMPLATE = "meaning representation: {meaning_representation}"


def prepare_web_nlg(row: dict) -> dict:
  """Joins the triples: "Aarhus | leader | Jacob; Aarhus | country | Denmark"."""
  return {**row, "triples": "; ".join(row["input"])}


DATASETS = {
  "e2e_nlg": Dataset(
    "gem/e2e_nlg:1.*.*",
    _E2E_TEMPLATE,
    References(field="references"),
    OWN,
  ),
  "e2e_nlg_2017": Dataset(
    None,
    _E2E_TEMPLATE,
    References(),
    OWN,
    files=user_files.UserFiles(
      "e2e_nlg_2017",
      {
        "train": "trainset.csv",
        "validation": "devset.csv",
        "test": "testset_w_refs.csv",
      },
      "https://github.com/tuetschek/e2e-dataset",
      user_files.read_e2e,
    ),
  ),
  "web_nlg": Dataset(
    "gem/web_nlg_en:1.*.*",
    "triples: {triples}",
    References(field="references"),
    OWN,
    prepare=prepare_web_nlg,
  ),
}
