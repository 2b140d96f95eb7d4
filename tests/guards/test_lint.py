"""Shows that scripts/lint catches what it is for, and leaves alone what is fine."""
# lint-allow-file(sleep-in-test): its bad examples have to be spelled out
import os
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
LINT = os.path.join(ROOT, "scripts", "lint")


def findings(files, *options):
  """[(file, line, rule)] for a project made of {path: text}."""
  with tempfile.TemporaryDirectory() as root:
    for path, text in files.items():
      path = os.path.join(root, path)
      os.makedirs(os.path.dirname(path), exist_ok=True)
      with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return run("--root", root, *options)


def run(*arguments):
  done = subprocess.run([sys.executable, LINT, *arguments], capture_output=True, text=True,
                        check=False)
  found = re.findall(r"^(.+?):(\d+): \S.* \(([a-z-]+)\)$", done.stdout, re.M)
  assert done.returncode == (1 if found else 0), done.stdout + done.stderr
  return [(path, int(line), rule) for path, line, rule in found]


def in_coroutine(*lines):
  return {"tools/x.cpp": "task<> f(int p) {\n" + "\n".join(lines) + "\n}\n"}


class Coroutines(unittest.TestCase):
  def lines(self, *lines):
    found = findings(in_coroutine(*lines))
    self.assertEqual({r for _, _, r in found} - {"co-await-temporary"}, set())
    return [line - 1 for _, line, _ in found]

  def test_agrees_with_the_canary_about_every_form(self):
    path = "tests/guards/co_await_canary.cpp"
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
      text = f.read()
    found = {line for _, line, rule in run("--no-allow", path) if rule == "co-await-temporary"}
    entries = [(text.count("\n", 0, m.start()) + 1, m.group(1), m.group(2))
               for m in re.finditer(r'(?m)^    \{"(.*)", (safe|breaks), \[', text)]
    self.assertGreater(len(entries), 40)
    ends = [entry[0] for entry in entries[1:]] + [text.count("\n")]
    for (begin, name, kind), end in zip(entries, ends):
      caught = any(begin <= line < end for line in found)
      # Nothing at the call shows this one: the declaration's rule catches it.
      expected = kind == "breaks" and "default argument" not in name
      self.assertEqual(caught, expected, "%s (%s)" % (name, kind))

  def test_finds_a_temporary_on_its_own_line(self):
    self.assertEqual(self.lines("co_await send(", "    a,", "    options{.retries = 3});"), [3])
    self.assertEqual(self.lines("const auto x = co_await send(to, {1, 2});"), [1])
    self.assertEqual(self.lines("for (auto v : co_await get([p] { use(p); })) {", "  use(v);", "}"),
                     [1])
    self.assertEqual(self.lines("if (x) { y(); }", "co_await [=] { return g(p); }();"), [2])
    self.assertEqual(self.lines("co_return thing{p, co_await g()};"), [1])

  def test_leaves_blocks_and_other_statements_alone(self):
    self.assertEqual(self.lines("options o{3};", "co_await send(o);", "const thing t{1, 2};"), [])
    self.assertEqual(self.lines("if (co_await g()) {", "  x = thing{1, p};", "}"), [])
    self.assertEqual(self.lines("while (co_await next()) { v.push_back({1, 2}); }"), [])
    self.assertEqual(self.lines("switch (co_await g()) {", "  case 1: x = a{1}; break;", "}"), [])
    self.assertEqual(self.lines("for (auto& x : co_await g()) { use(pair{x, 1}); }"), [])
    self.assertEqual(self.lines("try { co_await g(); } catch (const error& e) { log({e, 1}); }"),
                     [])

  def test_leaves_a_lambda_that_itself_awaits_alone(self):
    self.assertEqual(self.lines("nursery.spawn([p]() -> task<> {", "  co_await g(p);", "});"), [])
    self.assertEqual(self.lines("auto run = [p]() mutable -> task<result<int>> {",
                                "  thing t{1, p};", "  co_return co_await g(t);", "};"), [])

  def test_leaves_subscripts_attributes_comments_and_strings_alone(self):
    self.assertEqual(self.lines("co_await g(a[p], b[c[1]], f()[p]);"), [])
    self.assertEqual(self.lines("[[maybe_unused]] const int n = co_await g();"), [])
    self.assertEqual(self.lines("co_await g(\"{p}\", '{');  // co_await f(thing{p})"), [])
    self.assertEqual(self.lines("co_await g(1'000, R\"(co_await f(thing{p}))\");"), [])

  def test_leaves_trivially_destructible_values_alone(self):
    self.assertEqual(self.lines("co_await g(std::chrono::milliseconds{5}, rank_number{3});"), [])
    self.assertEqual(self.lines("co_await g([s = state_.get()](handler h) { s->add(h); });"), [])
    self.assertEqual(self.lines("co_await g([s = state_](handler h) { s->add(h); });"), [1])
    self.assertEqual(self.lines("co_await g(p > 0 ? 1 : 2, x.empty() ? 0 : x.size());"), [])

  def test_knows_our_classes_with_a_constructor_from_our_aggregates(self):
    types = {"include/p2pdvm/peal/t.hpp": "/// Two types.\nstruct bare { std::string a; };\n"
                                          "class made {\n public:\n  explicit made(int n);\n};\n"}
    self.assertEqual(findings({**types, **in_coroutine("co_await g(made{p}, made(p));")}), [])
    self.assertEqual(findings({**types, **in_coroutine("co_await g(bare(p));")}),
                     [("tools/x.cpp", 2, "co-await-temporary")])
    self.assertEqual(findings({**types, **in_coroutine("co_await g(bare());")}), [])

  def test_tells_an_aggregate_from_members_and_names_of_other_scopes(self):
    types = {"include/p2pdvm/checkpoint/t.hpp":
             "/// Actions.\nnamespace p2pdvm::checkpoint::cut_action {\n"
             "struct send { std::string to; };\n}\n"}
    for call in ("port.send(p)", "world->send(p)", "std::send(p)", "mpi::send(p)", "send(p)"):
      self.assertEqual(findings({**types, **in_coroutine("co_await g(%s);" % call)}), [], call)
    bad = in_coroutine("co_await g(cut_action::send(p));")
    self.assertEqual(findings({**types, **bad}), [("tools/x.cpp", 2, "co-await-temporary")])
    for use in ("using namespace p2pdvm::checkpoint::cut_action;",
                "using p2pdvm::checkpoint::cut_action::send;"):
      found = findings({**types, **in_coroutine(use, "co_await g(send(p));")})
      self.assertEqual(found, [("tools/x.cpp", 3, "co-await-temporary")], use)
    inner = {"include/p2pdvm/peal/t.hpp": "/// X.\nclass farm {\n  struct job { std::string a; };\n"
                                          "  task<> f() { co_await g(job(p)); }\n};\n"}
    self.assertEqual(findings(inner), [("include/p2pdvm/peal/t.hpp", 4, "co-await-temporary")])

  def test_leaves_aggregates_of_numbers_alone(self):
    types = {"tests/peal/t.hpp": "struct point { double x = 0; int id = 0; };\n"
                                 "struct named { double x = 0; std::string name; };\n"}
    self.assertEqual(findings({**types, **in_coroutine("co_await g(point{1.0, 2});")}), [])
    self.assertEqual(findings({**types, **in_coroutine("co_await g(named{1.0, p});")}),
                     [("tools/x.cpp", 2, "co-await-temporary")])

  def test_finds_braced_default_arguments_of_awaitable_functions(self):
    text = ("/// X.\ntask<int> one(int a, options o = {});\n"
            "result<int> two(options o = {});\ntask<> three(options o = options());\n"
            "task<std::vector<int>> rank::four(\n    const options& o = options{});\n")
    self.assertEqual(findings({"include/p2pdvm/peal/x.hpp": text}),
                     [("include/p2pdvm/peal/x.hpp", n, "awaitable-default-argument")
                      for n in (2, 6)])

  def test_finds_coroutines_in_synchronous_layers(self):
    text = "/// X.\ninline task<> f() { co_return; }\n"
    self.assertEqual(findings({"include/p2pdvm/overlay/x.hpp": text}),
                     [("include/p2pdvm/overlay/x.hpp", 2, "coroutine-below-peal")])
    self.assertEqual(findings({"include/p2pdvm/peal/x.hpp": text,
                               "include/p2pdvm/host/native/x.hpp": text}), [])


class Layers(unittest.TestCase):
  def include(self, path, name):
    found = findings({path: "/// X.\n#include <%s>\n" % name})
    self.assertTrue(all(f[:2] == (path, 2) for f in found), found)
    return [rule for _, _, rule in found]

  def test_arrows_point_down(self):
    layers = ["base", "crypto", "async", "host", "link", "overlay", "messaging", "store",
              "checkpoint", "peal", "runtime"]
    files, upward = {}, []
    for low, below in enumerate(layers):
      for high, above in enumerate(layers):
        for path in ("%s/to_%s.hpp" % (above, below), "%s/impl/to_%s.ipp" % (above, below)):
          path = "include/p2pdvm/" + path
          files[path] = "/// X.\n#include <p2pdvm/%s/y.hpp>\n" % below
          if low > high:
            upward.append((path, 2, "layer-include"))
    self.assertEqual(len(upward), 2 * 55)
    self.assertEqual(sorted(findings(files)), sorted(upward))

  def test_wire_needs_base_alone(self):
    self.assertEqual(self.include("include/p2pdvm/wire/x.hpp", "p2pdvm/base/y.hpp"), [])
    self.assertEqual(self.include("include/p2pdvm/wire/x.hpp", "p2pdvm/crypto/y.hpp"),
                     ["layer-include"])
    self.assertEqual(self.include("include/p2pdvm/link/x.hpp", "p2pdvm/wire/y.hpp"), [])

  def test_only_the_composition_root_names_an_implementation_of_host(self):
    for name in ("p2pdvm/sim/y.hpp", "p2pdvm/host/native/y.hpp"):
      for path in ("include/p2pdvm/runtime/x.hpp", "tests/store/x.cpp", "bench/x.cpp",
                   "tools/x.cpp"):
        self.assertEqual(self.include(path, name), [], path)
      for path in ("include/p2pdvm/overlay/x.hpp", "include/p2pdvm/host/x.hpp",
                   "src/peal.cpp"):
        self.assertEqual(self.include(path, name), ["layer-include"], path)

  def test_implementations_of_host_need_host_and_below(self):
    for folder in ("sim", "host/native"):
      path = "include/p2pdvm/%s/x.hpp" % folder
      self.assertEqual(self.include(path, "p2pdvm/%s/y.hpp" % folder), [])
      self.assertEqual(self.include(path, "p2pdvm/host/y.hpp"), [])
      self.assertEqual(self.include(path, "p2pdvm/link/y.hpp"), ["layer-include"])

  def test_a_source_file_may_list_the_bodies_of_its_library(self):
    self.assertEqual(self.include("src/host.cpp", "p2pdvm/host/native/impl/src.hpp"), [])
    self.assertEqual(self.include("src/main.cpp", "p2pdvm/runtime/impl/main_src.hpp"), [])

  def test_asio_cereal_and_libsodium_stay_in_their_layers(self):
    for name, rule, good, bad in (
        ("asio.hpp", "asio-include", "async/x.hpp", "link/x.hpp"),
        ("asio/post.hpp", "asio-include", "host/native/x.hpp", "host/x.hpp"),
        ("asio/post.hpp", "asio-include", "runtime/x.hpp", "peal/x.hpp"),
        ("cereal/cereal.hpp", "cereal-include", "wire/x.hpp", "checkpoint/x.hpp"),
        ("sodium.h", "sodium-include", "crypto/impl/x.ipp", "store/x.hpp"),
        ("openssl/evp.h", "openssl-include", "crypto/impl/x.ipp", "link/x.hpp"),
        ("zstd.h", "zstd-include", "store/impl/x.ipp", "runtime/x.hpp"),
        ("isa-l.h", "isal-include", "store/impl/x.ipp", "runtime/x.hpp")):
      self.assertEqual(self.include("include/p2pdvm/" + good, name), [])
      self.assertEqual(self.include("include/p2pdvm/" + bad, name), [rule])
    self.assertEqual(self.include("tests/link/x.cpp", "asio.hpp"), ["asio-include"])
    self.assertEqual(self.include("tests/async/x.cpp", "asio.hpp"), [])


class Constructs(unittest.TestCase):
  def rules(self, path, *lines):
    found = findings({path: "\n".join(lines) + "\n"})
    return [(line, rule) for _, line, rule in found]

  def test_asio_detached(self):
    self.assertEqual(self.rules("examples/usage/x.cpp", "co_spawn(e, f(),", "  asio::detached);"),
                     [(2, "asio-detached")])
    self.assertEqual(self.rules("examples/usage/x.cpp", "// asio::detached is banned",
                                "bool detached = true;"), [])

  def test_sleeps_in_tests(self):
    self.assertEqual(self.rules("tests/link/x.cpp", "std::this_thread::sleep_for(1s);"),
                     [(1, "sleep-in-test")])
    self.assertEqual(self.rules("tests/install/x.py", "import time", "time.sleep(1)"),
                     [(2, "sleep-in-test")])
    self.assertEqual(self.rules("tests/install/x.sh", "sleep 0.5"), [(1, "sleep-in-test")])
    self.assertEqual(self.rules("tests/link/x.cpp", "::sleep(1);"), [(1, "sleep-in-test")])
    self.assertEqual(self.rules("tests/peal/x.cpp", "run(rank.sleep(1s));  // virtual time"), [])
    self.assertEqual(self.rules("bench/x.cpp", "std::this_thread::sleep_for(1s);"), [])

  def test_time_and_randomness_come_from_host(self):
    for text in ("auto t = std::chrono::steady_clock::now();", "std::mt19937 g;",
                 "std::random_device d;"):
      self.assertEqual(self.rules("include/p2pdvm/store/x.hpp", "/// X.", text),
                       [(2, "host-seam")])
      self.assertEqual(self.rules("include/p2pdvm/host/native/x.hpp", "/// X.", text), [])
      self.assertEqual(self.rules("bench/x.cpp", text), [])

  def test_headers_say_what_they_are_for(self):
    header = "include/p2pdvm/link/x.hpp"
    self.assertEqual(self.rules(header, "#pragma once", "/// Late."), [(1, "header-purpose")])
    self.assertEqual(self.rules(header, "///"), [(1, "header-purpose")])
    self.assertEqual(self.rules(header, "/// Links.", "#pragma once"), [])
    self.assertEqual(self.rules("include/p2pdvm/link/impl/src.hpp", "#pragma once"), [])

  def test_absolute_paths(self):
    for folder in ("home/ann", "work/x", "Users/ann", "tmp/x"):
      self.assertEqual(self.rules("scripts/x", "#!/usr/bin/env bash", "cd /" + folder),
                       [(2, "absolute-path")])
      self.assertEqual(self.rules("tools/x.cpp", 'open("/%s");' % folder),
                       [(1, "absolute-path")])
    self.assertEqual(self.rules("src/base.cpp", "#include <" + "/usr/include/x.h>"),
                     [(1, "absolute-path")])
    self.assertEqual(self.rules("scripts/x", "cp $HOME/work/x build/tmp/x; ls ${dir}/home/x",
                                "cat https://example.org/home/x.html"), [])

  def test_an_allowance_needs_a_reason_and_covers_one_line(self):
    bad = "co_spawn(e, f(), asio::detached);"
    allow = "  // lint-" + "allow(asio-detached)"
    self.assertEqual(self.rules("tools/x.cpp", bad + allow + ": shows the loss"), [])
    self.assertEqual(self.rules("tools/x.cpp", allow + ": shows the loss", bad, bad),
                     [(3, "asio-detached")])
    self.assertEqual(self.rules("tools/x.cpp", bad + allow),
                     [(1, "asio-detached"), (1, "lint-allow")])
    self.assertEqual(self.rules("tools/x.cpp", allow.replace("allow(", "allow-file(") + ": why",
                                bad, bad), [])
    self.assertEqual(findings({"tools/x.cpp": bad + allow + ": why\n"}, "--no-allow"),
                     [("tools/x.cpp", 1, "asio-detached")])


if __name__ == "__main__":
  unittest.main()
