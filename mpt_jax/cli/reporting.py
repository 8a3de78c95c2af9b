"""`mpt report`: one page of everything that runs have written."""

from mpt_jax.cli.arguments import count


def add_report(command):
  sub = command(
    "report",
    _report,
    "Make one HTML page of runs: pictures, tables, curves, answers.",
  )
  sub.add_argument(
    "runs",
    nargs="+",
    metavar="RUN",
    help="the folder of a run of training, a sweep, a quickstart, mpt fit, or"
    " of an outcomes.json; several are compared",
  )
  sub.add_argument(
    "--out",
    metavar="FILE",
    help="the page (default: report.html in RUN; of several, in this folder)",
  )
  sub.add_argument(
    "--shots",
    type=count,
    metavar="K",
    help="examples per class in the pictures of targets (default: 16, or the"
    " most)",
  )
  sub.add_argument(
    "--samples",
    type=count,
    default=2000,
    metavar="N",
    help="samples of the bootstrap (default: %(default)s)",
  )


def _report(arguments):
  from mpt_jax.report import writing
  from mpt_jax.tasks.licences import licence

  path = writing.write_report(
    arguments.runs,
    arguments.out,
    shots=arguments.shots,
    num_samples=arguments.samples,
    licences=licence,
  )
  print(f"report: {path}")
