"""The pins: whole digests, exact versions, and a package for each source."""

import re

import pytest

from mpt_jax.tasks.public import package_list, sources

PACKAGES = package_list.PACKAGES


@pytest.mark.parametrize("package", PACKAGES.values(), ids=PACKAGES.keys())
def test_every_package_is_pinned(package):
  assert package.members
  for digest in package.members.values():
    assert re.fullmatch("[0-9a-f]{64}", digest)
  # Its archive is compared before it is opened.
  digest = package.archive_sha256 or package.members[package_list.ARCHIVE]
  assert re.fullmatch("[0-9a-f]{64}", digest)
  assert re.fullmatch(r"(\d+:)?\d[\w.+-]*", package.version)
  assert package.client in ("pip", "npm", "apt")
  assert package.megabytes > 0
  # Only pip has a choice between a wheel and a source archive.
  assert package.client == "pip" or not package.source_only
  # The whole archive stands alone.
  assert package_list.ARCHIVE not in package.members or (
    len(package.members) == 1
  )


def test_packages_are_found_by_name_and_fixed():
  assert all(name == package.name for name, package in PACKAGES.items())
  digests = [d for p in PACKAGES.values() for d in p.members.values()]
  assert len(digests) == len({*digests})
  with pytest.raises(TypeError):
    PACKAGES["other"] = PACKAGES["afinn"]


def test_the_packages_of_every_source_are_listed():
  for source in sources.SOURCES.values():
    assert {*source.packages} <= PACKAGES.keys()
  # As the module says.
  clients = {
    name: PACKAGES[package].client
    for name, source in sources.SOURCES.items()
    for package in source.packages
  }
  others = {name for name, client in clients.items() if client != "pip"}
  assert others == {"spam", "wordnet_category"}
