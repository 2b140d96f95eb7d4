#include "support/test.hpp"

#include <p2pdvm/base/limits.hpp>
#include <p2pdvm/runtime/options.hpp>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

namespace p2pdvm::test {
namespace {

using namespace std::chrono_literals;
using runtime::command_line;

task<> nothing(peal::rank&) { co_return; }

peal::program sample() {
  peal::program program("sample", nothing);
  program.describe("Does nothing.")
      .option("steps", "100", "how many")
      .input("graph", "what to walk on")
      .output("rows", "where they go");
  return program;
}

struct parsed {
  command_line line;
  std::optional<runtime::parse_exit> exit;
};

parsed parse(const std::vector<std::string>& words) {
  std::vector<const char*> argv{"/some/where/sample"};
  for (const std::string& w : words) argv.push_back(w.c_str());
  const auto program = sample();
  parsed p;
  p.exit = runtime::parse_command_line(static_cast<int>(argv.size()), argv.data(), program, p.line);
  return p;
}

command_line accepted(const std::vector<std::string>& words) {
  const parsed p = parse(words);
  INFO((p.exit ? p.exit->text : ""));
  REQUIRE_FALSE(p.exit);
  return p.line;
}

/// The one line that tells a user what is wrong.
std::string refused(const std::vector<std::string>& words) {
  const parsed p = parse(words);
  REQUIRE(p.exit);
  CHECK(p.exit->code == 2);
  const std::string& text = p.exit->text;
  CHECK(text.starts_with("sample: "));
  CHECK(text.ends_with("; see sample --help\n"));
  CHECK(std::count(text.begin(), text.end(), '\n') == 1);
  return text;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_CASE("without options a program runs as one rank in one process, with its own defaults") {
  const command_line line = accepted({});
  CHECK(line.ranks == 1);
  CHECK(line.local == 0);
  CHECK(line.peers == 0);
  CHECK_FALSE(line.host);
  CHECK(line.join.empty());
  CHECK(line.simulate.empty());
  CHECK(line.replicas == 3);
  CHECK(line.threads == 1);
  CHECK_FALSE(line.checkpoint_interval());
  CHECK(line.program_options == std::map<std::string, std::string>{{"steps", "100"}});
  CHECK(line.inputs.empty());
  CHECK(line.outputs.empty());
}

TEST_CASE("options of p2pdvm stand before two dashes, those of the program behind them") {
  const command_line line =
      accepted({"--ranks", "8", "--local=4", "--", "--steps", "7", "--graph=g.txt", "--rows", "r"});
  CHECK(line.ranks == 8);
  CHECK(line.local == 4);
  CHECK(line.program_options.at("steps") == "7");
  CHECK(line.inputs.at("graph") == "g.txt");
  CHECK(line.outputs.at("rows") == "r");
}

TEST_CASE("numbers have limits, and the sentence names them") {
  const std::string most = std::to_string(limits::ranks_max);
  CHECK(accepted({"--ranks", most}).ranks == limits::ranks_max);
  CHECK(accepted({"--replicas", "16"}).replicas == 16);
  CHECK(accepted({"--threads", "256", "--local", "256"}).threads == 256);
  CHECK(contains(refused({"--ranks", std::to_string(limits::ranks_max + 1)}), "1 to " + most));
  CHECK(contains(refused({"--replicas", "17"}), "from 1 to 16, not '17'"));
  for (const char* option : {"--ranks", "--local", "--peers", "--threads", "--replicas"}) {
    for (const char* value : {"0", "-1", "1.5", "many", "", "4x", " 4", "99999999999"}) {
      INFO(option << " '" << value << "'");
      CHECK(contains(refused({option, value}), "write a number from 1 to"));
    }
  }
}

TEST_CASE("an option without its value, or given twice, is refused") {
  CHECK(contains(refused({"--ranks"}), "--ranks"));
  CHECK(contains(refused({"--ranks", "2", "--ranks", "3"}), "--ranks"));
  CHECK(contains(refused({"--", "--steps"}), "--steps"));
}

TEST_CASE("ways to run that exclude each other are refused, whichever comes first") {
  const std::vector<std::vector<std::string>> ways = {
      {"--local", "2"}, {"--host"}, {"--join", "p2pdvm1-x"}, {"--simulate", "lan"}};
  for (std::size_t a = 0; a < ways.size(); ++a) {
    for (std::size_t b = 0; b < ways.size(); ++b) {
      if (a == b) continue;
      auto words = ways[a];
      words.insert(words.end(), ways[b].begin(), ways[b].end());
      INFO(words.front() << " with " << ways[b].front());
      CHECK(contains(refused(words), "exclude"));
    }
  }
}

TEST_CASE("checkpoints come as often as the user says: auto, off or in seconds") {
  CHECK_FALSE(accepted({"--checkpoint-every", "auto"}).checkpoint_interval());
  CHECK(accepted({"--checkpoint-every", "off"}).checkpoint_interval() == duration::zero());
  CHECK(accepted({"--checkpoint-every", "2"}).checkpoint_interval() == 2s);
  CHECK(accepted({"--checkpoint-every", "0.25"}).checkpoint_interval() == 250ms);
  for (const char* value : {"0", "-1", "often", "5s", "nan", "inf", "1e300", "1e-12", ""}) {
    INFO("'" << value << "'");
    CHECK(contains(refused({"--checkpoint-every", value}), "write auto, off or a number of seconds"));
  }
}

TEST_CASE("what a peer gives of its disk, its memory and its uplink is a size, with a least one where less is of no use") {
  CHECK_FALSE(accepted({}).quota);
  CHECK_FALSE(accepted({}).memory_quota);
  CHECK(accepted({}).upload_rate == 0);
  CHECK(accepted({"--quota", "20GB"}).quota == 20'000'000'000u);
  CHECK(accepted({"--memory-quota", "64MiB"}).memory_quota == 64u << 20);
  CHECK(accepted({"--memory-quota", "0"}).memory_quota == 0u);
  CHECK(accepted({"--upload-rate", "500kB/s"}).upload_rate == 500'000u);
  CHECK(accepted({"--upload-rate", "1MiB"}).upload_rate == 1u << 20);
  CHECK(contains(refused({"--quota", "much"}), "write a size such as 20GB or 500MiB, not 'much'"));
  CHECK(contains(refused({"--quota", "1MB"}), "at least, not '1MB'"));
  CHECK(contains(refused({"--upload-rate", "1kB/s"}), "at least, not '1kB'"));
  CHECK(contains(refused({"--upload-rate", "1MB/h"}), "not '1MB/h'"));
}

TEST_CASE("how long simulated peers stay is a session model, stable without one") {
  using sim::session_kind;
  const auto churn = [](const char* words) { return accepted({"--simulate", "lan", "--churn", words}).churn; };
  CHECK(accepted({"--simulate", "lan"}).churn.kind == session_kind::stable);
  CHECK(churn("0").kind == session_kind::stable);
  CHECK(churn("stable").kind == session_kind::stable);
  CHECK(churn("diurnal").kind == session_kind::diurnal);
  CHECK(churn("12.5").kind == session_kind::exponential);
  CHECK(churn("12.5").mean == 12500ms);
  CHECK(churn("heavy-tailed:84s").kind == session_kind::heavy_tailed);
  CHECK(churn("mixed:2h").mean == 2h);
  for (const char* value : {"-1", "often", "1 s", "nan", "inf", "1e300", "", "mixed", "diurnal:2h"}) {
    INFO("'" << value << "'");
    CHECK(contains(refused({"--simulate", "lan", "--churn", value}),
                   "'" + std::string(value) + "' is no session model; give a mean time such as 84s"));
  }
}

TEST_CASE("where to listen must be an address with a port") {
  CHECK(accepted({"--host", "--listen", "127.0.0.1:4000"}).listen == "127.0.0.1:4000");
  CHECK(accepted({"--host", "--listen", "[::1]:4000"}).listen == "[::1]:4000");
  for (const char* value : {"localhost", "1.2.3.4", "1.2.3:4000", "1.2.3.4:70000", ""}) {
    INFO("'" << value << "'");
    CHECK(contains(refused({"--host", "--listen", value}), "--listen"));
  }
}

TEST_CASE("unknown words are named, and an own option of the program before its dashes is told apart") {
  CHECK(contains(refused({"--rank", "8"}), "there is no option '--rank'"));
  CHECK(contains(refused({"heat"}), "there is nothing to do with 'heat'"));
  CHECK(contains(refused({"--steps", "7"}), "'--steps' is the program's own option: write it after '--'"));
  CHECK(contains(refused({"--steps=7"}), "write it after '--'"));
  CHECK(contains(refused({"--", "--ranks", "8"}), "after '--': there is no option '--ranks'"));
  CHECK(contains(refused({"--", "--", "x"}), "after '--'"));
}

TEST_CASE("a joiner says where results go, but not what the job computes") {
  const command_line line = accepted({"--join", "p2pdvm1-x", "--", "--rows", "mine.txt"});
  CHECK(line.join == "p2pdvm1-x");
  CHECK(line.outputs.at("rows") == "mine.txt");
  CHECK(line.program_options.empty());
  for (const char* option : {"--steps", "--graph"})
    CHECK(contains(refused({"--join", "p2pdvm1-x", "--", option, "1"}),
                   "a joiner gives output options only"));
}

TEST_CASE("help and version go to standard output and are no failure") {
  for (const char* option : {"-h", "--help"}) {
    const parsed p = parse({option, "--ranks", "3"});
    REQUIRE(p.exit);
    CHECK(p.exit->code == 0);
    for (const char* part : {"Usage: sample [OPTIONS]", "Does nothing.", "--ranks N", "--steps VALUE",
                             "how many [100]", "--graph FILE", "--join TICKET", "--resume"}) {
      INFO(part);
      CHECK(contains(p.exit->text, part));
    }
    CHECK_FALSE(contains(p.exit->text, "--event-fd"));  // between a parent and its children
    std::size_t begin = 0;
    for (std::size_t end; (end = p.exit->text.find('\n', begin)) != std::string::npos; begin = end + 1)
      CHECK(end - begin <= 100);
  }
  const parsed version = parse({"--version"});
  REQUIRE(version.exit);
  CHECK(version.exit->code == 0);
  CHECK(version.exit->text.starts_with("sample on p2pdvm "));
}

}  // namespace
}  // namespace p2pdvm::test
