/// Files that programs write: once, in order, as checkpoints commit, whoever dies.
#include "runtime/cluster.hpp"

#include <p2pdvm/peal/bsp.hpp>
#include <p2pdvm/runtime/output_sink.hpp>

namespace p2pdvm::test {
namespace {

using namespace std::chrono_literals;

/// Every rank writes a line in most steps; rank 1 long ones, for several chunks.
task<> writer_body(peal::rank& rank) {
  mpi::communicator world(rank);
  auto cells = first_cells(rank);
  const auto steps = rank.option<std::uint64_t>("steps");
  std::uint64_t done = 0;
  rank.state("done", done);
  rank.region("cells", cells);
  co_await rank.restore();
  peal::output lines = world.output("lines");
  while (done < steps) {
    co_await exchange_halos(rank, world, cells, done);
    if (done % 4 == static_cast<std::uint64_t>(rank.id()) % 4) co_await rank.sleep(5ms);
    if ((done + static_cast<std::uint64_t>(rank.id())) % 5 != 0) lines.write(fmt::format("{} {} {}\n", done, rank.id(), cells.back()));
    if (rank.id() == 1) lines.write(std::string(2000, static_cast<char>('a' + done % 26)));
    ++done;
    co_await rank.safe_point();
  }
  rank.output("last").write(fmt::format("{}\n", cells.front()));
  rank.result("output", hex_of(cells));
}

/// Rank 0 gives out work and writes what comes back: ranks that stand, and pass no safe points in step.
task<> farm_body(peal::rank& rank) {
  peal::adapter none;
  peal::port port = rank.open("farm", none);
  const auto steps = rank.option<std::uint64_t>("steps");
  std::uint64_t done = 0;
  std::map<int, std::uint64_t> next;
  rank.state("done", done);
  rank.state("next", next);
  co_await rank.restore();
  peal::output lines = rank.output("lines");
  if (rank.id() == 0) {
    const auto others = static_cast<std::uint64_t>(rank.size() - 1);
    while (done < steps * others) {
      const peal::message m = co_await rank.safe_wait(port, peal::any_source, 1);
      lines.write(fmt::format("{} {}\n", m.source(), *wire::decode<std::uint64_t>(m.body().view())));
      ++done;
    }
    co_return;
  }
  while (done < steps) {
    co_await rank.sleep(3ms);
    lines.write(fmt::format("{} sends {}\n", rank.id(), done));
    co_await port.send(0, 1, payload(wire::encode(done)));
    ++done;
    co_await port.send(rank.id(), 2, payload());
    (void)co_await rank.safe_wait(port, rank.id(), 2);
  }
}

peal::program writer() {
  peal::program program("writer", writer_body);
  program.option("steps", "100", "how many").option("cells", "64", "numbers of a rank");
  program.output("lines", "of every step").output("last", "at the end").output("output", "the result");
  return program;
}

/// A disk's files of outputs, which a process loses nothing of when it dies.
struct recorded_files {
  std::map<std::string, std::string> now;
  std::map<std::string, std::size_t> writes;
  std::vector<std::string> complaints;
};

class recording_sink final : public runtime::output_sink {
 public:
  explicit recording_sink(recorded_files& files) : files_(files) {}
  const std::set<std::string>& names() const override { return names_; }
  bool mine(const std::string&) override { return true; }
  result<> write(const std::string& name, std::uint64_t at, byte_view bytes) override {
    std::string& file = files_.now[name];
    const std::string text(as_text(bytes));
    ++files_.writes[name];
    if (bytes.empty()) files_.complaints.push_back(name + ": nothing is written");
    if (at != written_[name]) files_.complaints.push_back(name + ": a gap, or something twice");
    written_[name] = at + bytes.size();
    // What was committed once stays what it was.
    const std::size_t overlap = std::min<std::size_t>(text.size(), file.size() - std::min<std::size_t>(at, file.size()));
    if (at > file.size() || file.compare(at, overlap, text, 0, overlap) != 0)
      files_.complaints.push_back(name + ": other bytes than before");
    file = file.substr(0, at) + text + (at + text.size() < file.size() ? file.substr(at + text.size()) : std::string());
    return {};
  }
  void complete(const std::string& name, std::uint64_t at, byte_view bytes) override {
    if (!bytes.empty()) (void)write(name, at, bytes);
    if (at + bytes.size() != files_.now[name].size()) files_.complaints.push_back(name + ": more than there is to be");
    files_.now[name].resize(at + bytes.size());
  }

 private:
  recorded_files& files_;
  std::set<std::string> names_ = {"lines", "last", "output"};
  std::map<std::string, std::uint64_t> written_;
};

struct writing_cluster {
  writing_cluster(const peal::program& program, simulated_cluster::options how) {
    files.resize(how.peers + how.spares);
    how.outputs = [this](std::size_t peer) { return std::make_unique<recording_sink>(files[peer]); };
    world.emplace(program, std::move(how));
  }
  void check_files(const std::map<std::string, std::string>& right, std::size_t peer) {
    INFO("peer " << peer << "\n" << (*world).log());
    CHECK(files[peer].complaints == std::vector<std::string>());
    for (const auto& [name, text] : right) {
      const std::string& got = files[peer].now[name];
      const auto apart = static_cast<std::size_t>(std::mismatch(got.begin(), got.begin() + static_cast<std::ptrdiff_t>(std::min(got.size(), text.size())), text.begin()).first - got.begin());
      INFO(name << ": " << got.size() << " bytes of " << text.size() << ", the same to " << apart << ", then " << got.substr(apart, 60) << " for " << text.substr(apart, 60));
      CHECK((got == text));
    }
    CHECK(files[peer].now.size() == right.size());
  }
  std::vector<recorded_files> files;
  std::optional<observed_cluster> world;
};

std::map<std::string, std::string> undisturbed_files(const peal::program& program, std::uint32_t ranks, std::uint32_t steps,
                                                     duration checkpoints = duration::zero()) {
  auto how = cluster_of(1, ranks, steps);
  how.checkpoint_interval = checkpoints;
  writing_cluster alone(program, how);
  REQUIRE((*alone.world)->run(1h));
  CHECK(alone.files[0].complaints.empty());
  CHECK((alone.files[0].writes["lines"] > 1) == (checkpoints > duration::zero()));
  return alone.files[0].now;
}

constexpr std::uint32_t ranks = 5, steps = 120;

}  // namespace

TEST_CASE("an output has every line once and in order, whenever checkpoints were") {
  const peal::program program = writer();
  const auto right = undisturbed_files(program, ranks, steps);
  REQUIRE(right.size() == 2);
  std::string expected_begin;
  for (int r = 0; r < static_cast<int>(ranks); ++r) {
    if (r % 5 != 0) CHECK(right.at("lines").find(fmt::format("0 {} ", r)) != std::string::npos);
  }
  CHECK(right.at("lines").starts_with("0 1 "));
  CHECK(undisturbed_files(program, ranks, steps, 60ms) == right);
  CHECK(undisturbed_files(program, ranks, steps, 17ms) == right);
}

TEST_CASE("every peer that wants an output has all of it, and grows it with each checkpoint") {
  const peal::program program = writer();
  const auto right = undisturbed_files(program, ranks, steps);
  auto how = cluster_of(4, ranks, steps);
  how.spares = 1;  // comes later, and has the beginning too
  writing_cluster w(program, how);
  check_end(*w.world, undisturbed(program, ranks, steps));
  for (std::size_t peer = 0; peer < 5; ++peer) {
    w.check_files(right, peer);
    CHECK(w.files[peer].writes["lines"] > 3);
  }
}

TEST_CASE("whoever dies at whatever moment, an output is the undisturbed one", "[heavy]") {
  const peal::program program = writer();
  const auto right = undisturbed_files(program, ranks, steps);
  const std::string digest = undisturbed(program, ranks, steps);
  const event_kind moments[] = {event_kind::cut, event_kind::sealed, event_kind::committed, event_kind::written,
                                event_kind::recovering, event_kind::rank_returned};
  std::uint64_t seed = 1;
  for (const event_kind moment : moments) {
    for (const std::size_t victim : {0u, 2u}) {
      for (const std::size_t nth : {1u, 3u}) {
        auto how = cluster_of(5, ranks, steps);  // two may die at once
        how.network.seed = seed++;
        writing_cluster w(program, how);
        std::size_t seen = 0;
        w.world->watch = [&](std::size_t peer, const runtime::event& e) {
          // To recover there must be something to recover from.
          if (moment == event_kind::recovering && e.kind == event_kind::committed && w.world->crashed.empty() && peer == 3)
            return w.world->crash(3);
          const bool of_victim = peer == victim || moment == event_kind::rank_returned;
          if (e.kind == moment && of_victim && ++seen == nth) w.world->crash(victim);
        };
        INFO("seed " << how.network.seed << ", " << runtime::name_of(moment) << " " << nth << " of peer " << victim);
        check_end(*w.world, digest);
        for (std::size_t peer = 0; peer < 5; ++peer) {
          if (!w.world->crashed.contains(peer)) w.check_files(right, peer);
          // What the dead have is a beginning of it.
          CHECK(right.at("lines").starts_with(w.files[peer].now["lines"]));
        }
      }
    }
  }
}

TEST_CASE("a peer that comes back completes its file") {
  const peal::program program = writer();
  constexpr std::uint32_t many = 800;  // it is there again before the end
  const auto right = undisturbed_files(program, ranks, many);
  writing_cluster w(program, cluster_of(4, ranks, many));
  REQUIRE(w.world->run_to(event_kind::written, 60s, 6));
  (*w.world)->crash(0);
  REQUIRE(w.world->run_to(event_kind::recovered, 60s));
  REQUIRE(w.world->run_to(event_kind::committed, 60s, 4));
  const std::string before = w.files[0].now["lines"];
  CHECK(before.size() < right.at("lines").size());
  (*w.world)->restart(0);
  check_end(*w.world, undisturbed(program, ranks, many));
  for (std::size_t peer = 0; peer < 4; ++peer) w.check_files(right, peer);
}

TEST_CASE("a job that all peers left and that goes on later goes on with its files") {
  const peal::program program = writer();
  const auto right = undisturbed_files(program, ranks, steps);
  writing_cluster w(program, cluster_of(3, ranks, steps));
  REQUIRE(w.world->run_to(event_kind::written, 60s, 5));
  for (std::size_t i = 0; i < 3; ++i) (*w.world)->crash(i);
  (void)(*w.world)->run_until([&] { return !(*w.world)->alive(2); }, 1s);
  for (std::size_t i = 0; i < 3; ++i) (*w.world)->restart(i);
  check_end(*w.world, undisturbed(program, ranks, steps));
  for (std::size_t peer = 0; peer < 3; ++peer) w.check_files(right, peer);
}

TEST_CASE("ranks that pass no safe points in step write each line once, too") {
  peal::program program("farm", farm_body);
  program.option("steps", "60", "how many").option("cells", "0", "none");
  program.output("lines", "of all");
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    auto how = cluster_of(3, 4, 60);
    how.network.seed = seed;
    writing_cluster w(program, how);
    std::size_t seen = 0;
    w.world->watch = [&](std::size_t peer, const runtime::event& e) {
      if (e.kind == event_kind::written && peer == seed % 3 && ++seen == 1 + seed % 3) w.world->crash(peer);
    };
    const bool ended = (*w.world)->run(20min);
    INFO("seed " << seed << "\n" << w.world->log());
    REQUIRE(ended);
    CHECK(w.world->crashed.size() == 1);
    std::optional<std::string> one;
    for (std::size_t peer = 0; peer < 3; ++peer) {
      CHECK(w.files[peer].complaints == std::vector<std::string>());
      const std::string& text = w.files[peer].now["lines"];
      if (w.world->crashed.contains(peer)) continue;
      if (!one) one = text;
      CHECK(text == *one);
      // Each rank's lines in its own order, each once.
      for (int rank = 1; rank < 4; ++rank) {
        std::size_t at = 0;
        for (int step = 0; step < 60; ++step) {
          const std::string sent = fmt::format("{} sends {}\n", rank, step);
          at = text.find(sent, at);
          REQUIRE(at != std::string::npos);
          CHECK(text.find(sent, at + 1) == std::string::npos);
          CHECK(text.find(fmt::format("{} {}\n", rank, step)) != std::string::npos);
        }
      }
    }
  }
}

/// A random job with random faults, as `p2pdvm-sim swarm` draws it: whoever has the result has the files.
void try_seed(const peal::program& program, std::uint64_t seed) {
  const std::string name = program.name();
  const auto drawn = runtime::draw_scenario(seed, std::span(&name, 1));
  const auto right = undisturbed_files(program, drawn.ranks, 100);
  std::vector<recorded_files> files(drawn.peers + drawn.spares);
  runtime::scenario_watch watch;
  watch.outputs = [&files](std::size_t peer) { return std::make_unique<recording_sink>(files[peer]); };
  const auto digest = runtime::undisturbed_digest(drawn, program);
  REQUIRE(digest.ok());
  runtime::scenario_run run(drawn, program, watch);
  const bool ended = run.to_end();
  const auto verdict = run.judge(ended, *digest);
  INFO("seed " << seed << ": " << verdict.reason << "\n" << drawn.text());
  CHECK(verdict.right());
  for (std::size_t peer = 0; peer < files.size(); ++peer) {
    INFO("peer " << peer);
    CHECK(files[peer].complaints == std::vector<std::string>());
    CHECK(right.at("lines").starts_with(files[peer].now["lines"]));
    const auto& outcome = run.cluster().outcome(peer);
    if (!outcome || !outcome->ok()) continue;
    for (const auto& [output, text] : right) CHECK((files[peer].now[output] == text));
  }
}

TEST_CASE("random faults leave outputs whole", "[heavy]") {
  const peal::program program = writer();
  for (std::uint64_t seed = 1; seed <= 25; ++seed) try_seed(program, seed);
}

TEST_CASE("many random faults leave outputs whole", "[long]") {
  const peal::program program = writer();
  for (std::uint64_t seed = 1000; seed < 1400; ++seed) try_seed(program, seed);
}

}  // namespace p2pdvm::test
