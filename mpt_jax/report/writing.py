"""Puts the sections together and writes the page."""

from collections.abc import Callable, Sequence

from etils import epath

from mpt_jax.io import files, paths
from mpt_jax.report import reading
from mpt_jax.report.material import Material
from mpt_jax.report.page import Part, Section, make_page
from mpt_jax.report.sections.ablations import ablations
from mpt_jax.report.sections.answers import answer_lists, confusions
from mpt_jax.report.sections.learning import (
  curves_together,
  gains,
  learning_curves,
)
from mpt_jax.report.sections.picture import picture
from mpt_jax.report.sections.prompts import similarities
from mpt_jax.report.sections.run import side_by_side, what_was_run
from mpt_jax.report.sections.tables import score_table
from mpt_jax.report.sections.trends import over_parameters, over_shots
from mpt_jax.report.sections.verdicts import verdict_list
from mpt_jax.report.sections.views import other_views

FILE = "report.html"


def sections_of(material: Material, shots: int | None = None) -> list[Section]:
  """The sections of one run, those that have data.

  Args:
    material: the run.
    shots: see `Results.shown_shots`.
  """
  made = []
  several = len(material.results) > 1
  for results in material.results:
    own = [
      picture(results, results.shown_shots(shots)),
      verdict_list(results),
      score_table(results),
      over_shots(results),
      over_parameters(results),
      ablations(results),
    ]
    made += [
      Section(
        f"{results.title}: {x.title.lower()}" if several else x.title, x.body
      )
      for x in own
      if x is not None
    ]
  made += [
    *(other_views(results, material.views) for results in material.results[:1]),
    learning_curves(material.trainings),
    gains(material.trainings),
    answer_lists(material.answers),
    confusions(material.confusions),
    similarities(material.prompts),
    what_was_run(material),
  ]
  return [section for section in made if section is not None]


def make_report(materials: Sequence[Material], shots: int | None = None) -> str:
  """Returns the page of one run, or of several beside each other.

  Args:
    materials: the runs.
    shots: see `Results.shown_shots`.
  """
  if len(materials) == 1:
    (one,) = materials
    part = Part("", sections_of(one, shots), notes=one.notes)
    return make_page(one.title, [part])
  together = [
    side_by_side(materials, shots),
    curves_together(reading.trainings_of(materials)),
  ]
  parts = [Part("", [section for section in together if section])]
  for one in materials:
    lead = f"{one.kind}: {one.title}"
    parts.append(Part(one.name, sections_of(one, shots), lead, one.notes))
  return make_page(f"{len(materials)} runs", parts)


def write_report(
  runs: Sequence,
  out=None,
  *,
  shots: int | None = None,
  num_samples: int = 2000,
  licences: Callable[[str], str | None] | None = None,
) -> epath.Path:
  """Reads runs and writes their page.

  Args:
    runs: folders of runs, see `mpt_jax.report.reading`.
    out: the file; by default report.html in the folder of a single run, or in
      the working folder.
    shots: the number of shots of pictures, see `Results.shown_shots`.
    num_samples: samples of the bootstrap.
    licences: see `reading.read`.

  Returns:
    The path of the page.

  Raises:
    FileNotFoundError: a run does not exist.
    ValueError: a folder is no run, a file is damaged, or no run has the number
      of shots.

  Example::

    write_report(["runs/teach", "runs/distill"], "compared.html")
  """
  materials = [
    reading.read(
      run, shots=shots, num_samples=num_samples, licences=licences, name=name
    )
    for run, name in zip(runs, reading.names_of(runs), strict=True)
  ]
  known = {k for m in materials for r in m.results for k in r.shots}
  if shots is not None and shots not in known:
    found = ", ".join(str(k) for k in sorted(known - {None})) or "none"
    raise ValueError(f"no run has scores of {shots} shots; there are {found}")
  if out is None:
    out = FILE
    if len(runs) == 1:
      folder = epath.Path(paths.expand(runs[0]))
      out = (folder if folder.is_dir() else folder.parent) / FILE
  path = epath.Path(paths.expand(out))
  files.write_text(path, make_report(materials, shots))
  return path
