"""E2E and WebNLG: text from data, BLEU over all references.

The main metric is the one of the challenge's own scripts.

`e2e_nlg` (the cleaned texts of Dušek et al., 2019) and `web_nlg` (the English
part of WebNLG 2020) are GEM's (Gehrmann et al., 2021), from files or TFDS.
`e2e_nlg_2017` is the first E2E (Novikova et al., 2017), which TFDS does not
have. It is not known which of them the paper used.
"""

from mpt_jax.tasks import readers
from mpt_jax.tasks.forms import References
from mpt_jax.tasks.splits import OWN
from mpt_jax.tasks.tfds_tasks import Dataset
from mpt_jax.tasks.user_files import UserFiles

_E2E_METRICS = ("bleu_e2e", "bleu")
_E2E_TEMPLATE = "meaning representation: {meaning_representation}"


def prepare_web_nlg(row: dict) -> dict:
  """Joins triples: "Aarhus | leader | Jacob; Aarhus | country | Denmark"."""
  return {**row, "triples": "; ".join(row["input"])}


def prepare_e2e(row: dict) -> dict:
  """Gives a row of a file the references that one of TFDS has."""
  return {"references": [], **row}


def _e2e(folder, train, validation, test, counts, **others):
  """Declares the files of an edition of E2E."""
  names = {"train": train, "validation": validation, "test": test}
  return UserFiles(
    folder=folder,
    names=names,
    read=readers.Table(
      {"meaning_representation": "mr", "target": "ref"},
      format="csv",
      convert={},
    ),
    owner="Novikova et al. (2017), Dušek et al. (2019)",
    licence="CC BY-SA 4.0",
    counts=dict(zip(names, counts, strict=True)),
    **others,
  )


DATASETS = {
  "e2e_nlg": Dataset(
    "gem/e2e_nlg:1.*.*",
    _E2E_TEMPLATE,
    References(field="references"),
    OWN,
    metric_fns=_E2E_METRICS,
    metric="bleu_e2e",
    prepare=prepare_e2e,
    files=_e2e(
      "e2e_nlg",
      "train-fixed.no-ol.csv",
      "devel-fixed.no-ol.csv",
      "test-fixed.csv",
      (33525, 4299, 4693),
      origin="https://github.com/tuetschek/e2e-cleaning (cleaned-data)",
      size="15 MB",
      inside=("cleaned-data", "e2e-cleaning/cleaned-data"),
    ),
  ),
  "e2e_nlg_2017": Dataset(
    None,
    _E2E_TEMPLATE,
    References(),
    OWN,
    metric_fns=_E2E_METRICS,
    metric="bleu_e2e",
    files=_e2e(
      "e2e_nlg_2017",
      "trainset.csv",
      "devset.csv",
      "testset_w_refs.csv",
      (42061, 4672, 4693),
      origin="https://github.com/tuetschek/e2e-dataset",
      size="13 MB",
      inside=("e2e-dataset",),
    ),
  ),
  "web_nlg": Dataset(
    "gem/web_nlg_en:1.*.*",
    "triples: {triples}",
    References(field="references"),
    OWN,
    metric_fns=("bleu_webnlg", "bleu"),
    metric="bleu_webnlg",
    prepare=prepare_web_nlg,
    files=UserFiles(
      folder="web_nlg",
      names={
        "train": ("webnlg_en_train.json", "train"),
        "validation": ("webnlg_en_val.json", "dev"),
        "test": (
          "webnlg_en_test.json",
          "rdf-to-text-generation-test-data-with-refs-en.xml",
          "test/rdf-to-text-generation-test-data-with-refs-en.xml",
          "test",
        ),
      },
      read=readers.read_web_nlg,
      origin="https://gitlab.com/shimorina/webnlg-dataset (release_v3.0/en:"
      " folders of XML), or GEM's JSON",
      owner="Gardent et al. (2017), Castro Ferreira et al. (2020)",
      licence="CC BY-NC-SA 4.0",
      size="not known here",
      counts={"train": 35426, "validation": 1667, "test": 1779},
      inside=("en", "release_v3.0/en", "webnlg-dataset/release_v3.0/en"),
    ),
  ),
}
