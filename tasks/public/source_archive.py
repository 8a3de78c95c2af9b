"""Downloads a package's source archive from pip's index, without building it.

`pip download` runs the setup.py of a source archive to find its dependencies,
and pip has no public command that does not. So this program uses pip's own
parts, by which mirrors, pip.conf, certificates and passwords count as for any
command of pip. It is run in a process of its own:

  python source_archive.py PROJECT FILE FOLDER MEGABYTES

It writes FILE into FOLDER and runs nothing of it.
"""

import pathlib
import sys


def main(project: str, name: str, folder: str, megabytes: str):
  """Downloads one file.

  Args:
    project: the project in the index.
    name: the file's name.
    folder: where it is written.
    megabytes: the most that is read.
  """
  try:
    from pip._internal.commands.download import DownloadCommand

    command = DownloadCommand("download", "")
    options, _ = command.parse_args(["--no-binary", ":all:", "--quiet"])
    with command.main_context():
      session = command.get_default_session(options)
      finder = command._build_package_finder(options=options, session=session)
      links = [c.link for c in finder.find_all_candidates(project)]
      links = [link for link in links if link.filename == name]
      if not links:
        sys.exit(f"ERROR: no index that pip knows has {name}")
      _save(session, links[0], pathlib.Path(folder, name), float(megabytes))
  except (ImportError, AttributeError, TypeError) as error:
    sys.exit(f"ERROR: this version of pip cannot be used ({error})")
  except Exception as error:  # Those of pip and of requests.
    sys.exit(f"ERROR: {type(error).__name__}: {error}")


def _save(session, link, path, megabytes):
  url = link.url_without_fragment
  # Compressed once more, the file would have another hash.
  headers = {"Accept-Encoding": "identity"}
  size = 0
  with session.get(url, stream=True, headers=headers) as response:
    response.raise_for_status()
    with path.open("wb") as file:
      for chunk in response.iter_content(2**16):
        size += len(chunk)
        if size > megabytes * 1e6:
          sys.exit(f"ERROR: {path.name} has more than {megabytes} MB")
        file.write(chunk)


if __name__ == "__main__":
  main(*sys.argv[1:])
