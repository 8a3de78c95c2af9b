"""The names of methods, their order on a page, and their colours."""

from collections.abc import Iterable

MAIN = "mpt"
NAMES = {
  "majority": "majority",
  "tfidf_lr": "tf-idf + LR",
  "no_prompt": "no prompt",
  "native_prefix": "native prefix",
  "teacher": "teacher",
  "student": "student",
  "finetune": "full fine-tuning",
  "prompt_tuning": "prompt tuning",
  "residual": "residual prompts",
  "dpt": "DPT",
  "ulpt": "ULPT",
  "dept": "DePT",
  "spot": "SPoT",
  "spot_mean": "SPoT, mean of teachers",
  "mpt": "MPT",
  "mpt_group": "MPT, shared P*",
}
# Methods that are not listed come between these two groups.
_FIRST = (MAIN, "prompt_tuning", "spot")
_LAST = ("finetune", "tfidf_lr", "tfidf", "native_prefix", "no_prompt")
_PLAIN = "majority"
# Baselines that do not learn; charts need not reach down to them.
PLAIN = ("no_prompt", _PLAIN)
BASELINES = (*_LAST, _PLAIN)
# How the name of a variant goes on after the name of its method.
_JOINTS = ("_", "-", ",", ":", " ")
# Numbers of the palette in style.css; the others are taken in turn.
_COLORS = {MAIN: 0, "prompt_tuning": 1, "spot": 2, "tfidf_lr": 3, "tfidf": 3}
NUM_COLORS = 9


def key(method: str) -> str:
  """The name by which a method is known here, however it is written.

  >>> key("prompt tuning"), key("tf-idf + LR"), key("MPT, rank 2")
  ('prompt_tuning', 'tfidf_lr', 'MPT, rank 2')
  """
  plain = method.strip().lower()
  for known, name in NAMES.items():
    if plain in (known, name.lower(), known.replace("_", " ")):
      return known
  return method


def title(method: str) -> str:
  """The name of a method for people.

  >>> title("mpt"), title("mpt_no_distill"), title("dept")
  ('MPT', 'MPT, no distill', 'DePT')
  """
  if method in NAMES:
    return NAMES[method]
  if method.startswith(f"{MAIN}_"):
    rest = method.removeprefix(f"{MAIN}_").replace("_", " ")
    return f"{NAMES[MAIN]}, {rest}"
  return method.replace("_", " ")


def is_variant(method: str, main: str) -> bool:
  """Whether a method is another one with a change, by its name.

  >>> is_variant("mpt_no_distill", "mpt"), is_variant("MPT, rank 2", "mpt")
  (True, True)
  >>> is_variant("mpt", "mpt"), is_variant("mpter", "mpt")
  (False, False)
  """
  name, start = method.lower(), main.lower()
  return name != start and name.startswith(
    tuple(start + joint for joint in _JOINTS)
  )


def ordered(methods: Iterable[str]) -> list[str]:
  """Sorts methods for a page: MPT first, plain baselines last.

  >>> ordered(["majority", "dept", "spot", "mpt_rank_2", "mpt"])
  ['mpt', 'mpt_rank_2', 'spot', 'dept', 'majority']
  """
  found = list(dict.fromkeys(methods))

  def place(method):
    if method in _FIRST:
      return 2 * _FIRST.index(method)
    if is_variant(method, MAIN):
      return 1
    if method in _LAST:
      return 100 + _LAST.index(method)
    return 200 if method == _PLAIN else 50

  return sorted(found, key=lambda method: (place(method), found.index(method)))


def colors(methods: Iterable[str], main: str = MAIN) -> dict[str, int]:
  """Numbers of the palette: known methods have theirs, the rest take turns.

  Args:
    methods: the methods of a page, in their order.
    main: the method that has the first colour.

  >>> colors(["spot", "dept", "ulpt"], main="ulpt")
  {'spot': 2, 'dept': 4, 'ulpt': 0}
  """
  made, free = {}, len(set(_COLORS.values()))
  for method in methods:
    if method == main:
      made[method] = _COLORS[MAIN]
    elif method in _COLORS:
      made[method] = _COLORS[method]
    else:
      made[method] = free
      free = free + 1 if free + 1 < NUM_COLORS else 4
  return made
