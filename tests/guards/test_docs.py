"""Shows that what the documents say about files is so."""
import os
import re
import unittest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))


def read(*path):
  with open(os.path.join(ROOT, *path), encoding="utf-8") as f:
    return f.read()


class Documents(unittest.TestCase):
  def test_the_readme_shows_hello_as_it_is(self):
    shown = re.search(r"```cpp\n(.*?)```", read("README.md"), re.S)
    self.assertEqual(shown.group(1), read("examples", "usage", "hello.cpp"))

  def test_links_lead_to_files(self):
    documents = [n for n in os.listdir(ROOT) if n.endswith(".md")]
    documents += [os.path.join(folder, n) for folder in ("docs", "docs/decisions", "examples")
                  for n in os.listdir(os.path.join(ROOT, folder)) if n.endswith(".md")]
    for document in documents:
      for target in re.findall(r"\]\(([^)#:]+)\)", read(document)):
        path = os.path.join(ROOT, os.path.dirname(document), target)
        self.assertTrue(os.path.exists(path), "%s: %s" % (document, target))

  def test_every_decision_is_in_the_index(self):
    index = read("docs", "decisions", "README.md")
    for name in os.listdir(os.path.join(ROOT, "docs", "decisions")):
      if name != "README.md":
        self.assertIn("(%s)" % name, index)

  def test_every_example_is_listed(self):
    listed = read("examples", "README.md")
    for folder in ("usage", "applications"):
      for name in os.listdir(os.path.join(ROOT, "examples", folder)):
        if name.endswith(".cpp"):
          self.assertIn("(%s/%s)" % (folder, name), listed)

  def test_files_named_by_the_map_exist(self):
    for name in re.findall(r"`([\w/]+/[\w.]+\.(?:hpp|ipp|cpp|py))`", read("ARCHITECTURE.md")):
      places = [os.path.join(ROOT, "include", "p2pdvm", name), os.path.join(ROOT, name)]
      self.assertTrue(any(map(os.path.exists, places)), name)


if __name__ == "__main__":
  unittest.main()
