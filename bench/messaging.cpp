/// messaging: half round trips, bandwidth and rate between two ranks, in one process and in two.
#include "runs.hpp"
#include "suites.hpp"

#include <p2pdvm/peal/mpi.hpp>
#include <p2pdvm/peal/rank.hpp>

#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace p2pdvm::bench {

namespace {

constexpr std::size_t sizes[] = {8, 64, 1 << 10, 8 << 10, 64 << 10, 512 << 10, 4 << 20};

/// How often something is done, and how often that is timed.
struct effort {
  int samples;
  int messages;
};

/// About as many bytes for each size, within reason.
effort effort_of(std::size_t bytes, bool quick, std::size_t bytes_wanted, int messages_max) {
  if (quick) return {2, 3};
  const auto count = static_cast<int>(bytes_wanted / bytes);
  return {15, std::clamp(count, 4, messages_max)};
}

class bench_pair {
 public:
  explicit bench_pair(peal::rank& rank)
      : rank_(rank), world_(rank), path_(rank.option("path")), quick_(rank.option<int>("quick") != 0) {}

  [[nodiscard]] const std::string& lines() const noexcept { return lines_; }

  /// Ping and pong; half of the time that both take.
  task<> half_rtt(std::size_t bytes) {
    const effort e = effort_of(bytes, quick_, std::size_t{8} << 20, 1000);
    std::vector<std::byte> buffer(bytes);
    std::vector<double> times;
    for (int s = 0; s <= e.samples; ++s) {
      const double begin = rank_.now();
      for (int i = 0; i < e.messages; ++i) {
        if (world_.rank() == 0) co_await world_.send(std::span(buffer), 1);
        co_await world_.recv_into(std::span(buffer), 1 - world_.rank());
        if (world_.rank() == 1) co_await world_.send(std::span(buffer), 0);
      }
      if (s > 0) times.push_back((rank_.now() - begin) / (2 * e.messages));
    }
    note("half_rtt", seconds_unit, bytes, median(times));
  }

  /// One way, then a short answer to all of it.
  task<> stream(const char* metric, std::string_view unit, std::size_t bytes, effort e,
                double per_message) {
    std::vector<std::byte> buffer(bytes);
    char answer = 0;
    std::vector<double> rates;
    for (int s = 0; s <= e.samples; ++s) {
      const double begin = rank_.now();
      for (int i = 0; i < e.messages; ++i) {
        if (world_.rank() == 0) {
          co_await world_.send(std::span(buffer), 1);
        } else {
          co_await world_.recv_into(std::span(buffer), 0);
        }
      }
      if (world_.rank() == 0) {
        co_await world_.recv_into(answer, 1);
      } else {
        co_await world_.send(answer, 0);
      }
      if (s > 0) rates.push_back(per_message * e.messages / (rank_.now() - begin));
    }
    note(metric, unit, bytes, median(rates));
  }

  task<> everything() {
    for (const std::size_t bytes : sizes) co_await half_rtt(bytes);
    const effort small = quick_ ? effort{2, 10} : effort{7, 20000};
    co_await stream("message_rate", rate_unit, 8, small, 1);
    for (const std::size_t bytes : {std::size_t{64} << 10, std::size_t{4} << 20}) {
      const effort e = effort_of(bytes, quick_, std::size_t{64} << 20, 1000);
      co_await stream("bandwidth", byte_rate_unit, bytes, e, static_cast<double>(bytes));
    }
  }

 private:
  void note(const char* metric, std::string_view unit, std::size_t bytes, double value) {
    measurement m;
    m.benchmark = "messaging";
    m.system = "p2pdvm";
    m.profile = "native";
    m.parameters["path"] = path_;
    m.parameters["bytes"] = bytes;
    m.parameters["processes"] = path_ == "tcp" ? 2 : 1;
    m.metric = metric;
    m.unit = unit;
    m.value = value;
    lines_ += to_line(m) + "\n";
  }

  peal::rank& rank_;
  mpi::communicator world_;
  std::string path_;
  bool quick_;
  std::string lines_;
};

task<> body(peal::rank& rank) {
  bench_pair pair(rank);
  co_await rank.restore();
  co_await pair.everything();
  if (rank.id() == 0) rank.result("output", pair.lines());
}

}  // namespace

peal::program messaging_program() {
  peal::program p("p2pdvm-bench-messaging", body);
  p.option("path", "process", "what to call the way between the ranks")
      .option("quick", "0", "1: tiny counts")
      .output("output", "the measurements");
  return p;
}

void run_messaging(const settings& how, report& out) {
  const peal::program program = messaging_program();
  const std::string quick = how.quick ? "1" : "0";
  embedded_run::options alone;
  alone.ranks = 2;
  alone.program_options = {{"path", "process"}, {"quick", quick}};
  alone.checkpoint_interval = duration::zero();
  const runtime::job_results results = embedded_run(program, alone).run();
  std::string text(as_text(results.at("output")));
  for (std::size_t at = 0; (at = text.find('\n')) != std::string::npos; text.erase(0, at + 1))
    out.add(from_line(text.substr(0, at)));

  const temporary_folder folder;
  const std::string output = folder.path() + "/output";
  process peers(program.name(),
                {"--ranks", "2", "--local", "2", "--data", folder.path() + "/data", "--quiet",
                 "--json", "--checkpoint-every", "off", "--", "--path", "tcp", "--quick", quick,
                 "--output", output});
  constexpr std::chrono::seconds limit(180);
  const auto status = peers.wait(limit, nullptr, nullptr);
  if (!status)
    throw std::runtime_error("two peer processes did not end within 180 s; nothing was measured over TCP");
  if (*status != 0)
    throw std::runtime_error("two peer processes ended with status " + std::to_string(*status));
  for (const std::string& line : lines_of(output)) out.add(from_line(line));
}

}  // namespace p2pdvm::bench
