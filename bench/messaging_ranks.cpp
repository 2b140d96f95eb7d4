/// Real ranks of p2pdvm and of MPI libraries that do the same, taking turns.
#include "messaging.hpp"
#include "messaging_plan.hpp"
#include "real_runs.hpp"

#include <p2pdvm/crypto/crypto.hpp>
#include <p2pdvm/link/record.hpp>
#include <p2pdvm/peal/mpi.hpp>
#include <p2pdvm/peal/rank.hpp>

#include <cstddef>
#include <map>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace p2pdvm::bench {

namespace {

using plan::operation;

/// The counterpart of `ranks` in mpi/messaging.cpp.
class plan_ranks {
 public:
  explicit plan_ranks(peal::rank& rank)
      : rank_(rank), world_(rank), quick_(rank.option<int>("quick") != 0) {}

  /// "METRIC BYTES VALUE"
  [[nodiscard]] const std::string& lines() const noexcept { return lines_; }

  task<> everything() {
    for (const plan::step& s : plan::steps(world_.size())) co_await measure(s);
  }

 private:
  task<> measure(plan::step s) {
    buffer_.assign(s.bytes, std::byte{0});
    double best = 0;
    for (const int window : plan::windows_of(s)) {
      const double value = co_await measured(s, window);
      best = std::max(best, value);
    }
    lines_ += fmt::format("{} {} {:.9g}\n", plan::name_of(s.what), s.bytes, best);
  }

  task<double> measured(plan::step s, int window) {
    const plan::effort e = plan::effort_of(s.what, quick_);
    int count = e.count_min, samples = 0;
    for (;;) {
      double fastest = co_await timed(s, count, window);
      for (int i = 1; i < plan::trials; ++i) {
        const double again = co_await timed(s, count, window);
        fastest = std::min(fastest, again);
      }
      int decided[] = {plan::next_count(e, count, fastest), plan::samples_of(e, fastest)};
      co_await world_.bcast(std::span(decided));
      samples = decided[1];
      if (decided[0] == count) break;
      count = decided[0];
    }
    std::vector<double> values;
    for (int i = 0; i < samples; ++i) {
      const double seconds = co_await timed(s, count, window);
      values.push_back(plan::value_of(s.what, s.bytes, count, seconds));
    }
    co_return plan::median_of(values);
  }

  task<double> timed(plan::step s, int count, int window) {
    const double begin = rank_.now();
    switch (s.what) {
      case operation::half_rtt: co_await ping_pong(count); break;
      case operation::message_rate:
      case operation::bandwidth: co_await stream(count, window); break;
      case operation::barrier_time:
        for (int i = 0; i < count; ++i) co_await world_.barrier();
        break;
      case operation::allreduce_time:
        for (int i = 0; i < count; ++i) sum_ = co_await world_.allreduce(1.0);
        break;
    }
    co_return rank_.now() - begin;
  }

  task<> ping_pong(int count) {
    for (int i = 0; i < count; ++i) {
      if (world_.rank() == 0) co_await world_.send(std::span(buffer_), 1, 0);
      co_await world_.recv_into(std::span(buffer_), 1 - world_.rank(), 0);
      if (world_.rank() == 1) co_await world_.send(std::span(buffer_), 0, 0);
    }
  }

  /// One way, then a short answer to all of it.
  task<> stream(int count, int window) {
    if (window > 1) {
      co_await stream_windows(count, window);
    } else {
      for (int i = 0; i < count; ++i) {
        if (world_.rank() == 0) {
          co_await world_.send(std::span(buffer_), 1, 0);
        } else {
          co_await world_.recv_into(std::span(buffer_), 0, 0);
        }
      }
    }
    char answer = 0;
    if (world_.rank() == 0) {
      co_await world_.recv_into(answer, 1, 0);
    } else {
      co_await world_.send(answer, 0, 0);
    }
  }

  task<> stream_windows(int count, int window) {
    std::vector<mpi::request> under_way;
    for (int done = 0; done < count; done += window) {
      under_way.clear();
      for (int i = 0; i < std::min(window, count - done); ++i) {
        if (world_.rank() == 0) {
          under_way.push_back(world_.isend(std::span(buffer_), 1, 0));
        } else {
          under_way.push_back(world_.irecv(std::span(buffer_), 0, 0));
        }
      }
      co_await mpi::wait_all(under_way);
    }
  }

  peal::rank& rank_;
  mpi::communicator world_;
  bool quick_;
  double sum_ = 0;
  std::vector<std::byte> buffer_;
  std::string lines_;
};

task<> messaging_body(peal::rank& rank) {
  plan_ranks ranks(rank);
  bind_if_asked(rank);
  co_await rank.restore();
  co_await ranks.everything();
  if (rank.id() == 0) rank.result("output", ranks.lines());
}

[[nodiscard]] std::string unit_of(const std::string& metric) {
  if (metric == "message_rate") return std::string(rate_unit);
  if (metric == "bandwidth") return std::string(byte_rate_unit);
  return std::string(seconds_unit);
}

void add_figure(const real_run& run, const std::string& line, comparison& out) {
  measurement m;
  std::size_t bytes = 0;
  std::istringstream in(line);
  if (!(in >> m.metric >> bytes >> m.value))
    throw std::runtime_error(fmt::format("{} over {} printed '{}', which is no figure", run.system, run.path, line));
  m.benchmark = "messaging";
  m.system = run.system;
  m.profile = "native";
  m.parameters["path"] = run.path;
  m.parameters["processes"] = run.path == "process" ? 1 : run.ranks;
  m.parameters["bytes"] = bytes;
  m.unit = unit_of(m.metric);
  out.add(m);
}

/// The cipher alone on a message of 4 MiB, in pieces as records have them: one thread seals while
/// another opens, as the two ends do, and half of their sum is what the message costs when both cores
/// share all work.
double cipher_seconds(const settings& how) {
  constexpr std::size_t bytes = std::size_t{4} << 20, piece = limits::record_bytes_max;
  const link::noise::cipher kind =
      crypto::aes_available() ? link::noise::cipher::aes256_gcm : link::noise::cipher::chacha20_poly1305;
  const crypto::secret_key key(crypto::hash(as_bytes("a key")).bytes());
  const std::uint32_t header = piece + crypto::tag_bytes;
  const byte_vector plain(piece, std::byte{7});
  std::vector<byte_vector> sealed(bytes / piece, byte_vector(piece + crypto::tag_bytes));
  link::record_cipher first(kind, key);
  for (byte_vector& s : sealed) first.seal(bytes_of(header), plain, s);
  const int samples = how.quick ? 1 : 15;
  std::vector<double> sealing, opening;
  std::thread sealer([&] {
    byte_vector out(piece + crypto::tag_bytes);
    link::record_cipher cipher(kind, key);
    for (int i = 0; i < samples; ++i)
      sealing.push_back(time_of([&] {
        for (std::size_t p = 0; p < bytes / piece; ++p) cipher.seal(bytes_of(header), plain, out);
      }));
  });
  bool good = true;
  byte_vector out(piece);
  for (int i = 0; i < samples; ++i) {
    link::record_cipher cipher(kind, key);
    opening.push_back(time_of([&] {
      for (const byte_vector& s : sealed) good &= cipher.open(bytes_of(header), s, out);
    }));
  }
  sealer.join();
  if (!good) throw std::runtime_error("the cipher does not open what it has sealed");
  return (median(sealing) + median(opening)) / 2;
}

std::vector<std::string> lines_from(const settings& how, const real_run& run) {
  if (run.system == "cipher")
    return {fmt::format("half_rtt {} {:.9g}", std::size_t{4} << 20, cipher_seconds(how))};
  if (run.system != "p2pdvm") return run_mpi("messaging", run, how.quick);
  const std::map<std::string, std::string> quick = {{"quick", how.quick ? "1" : "0"}};
  return run_ranks(messaging_program(), run, quick);
}

}  // namespace

peal::program messaging_program() {
  peal::program p("p2pdvm-bench-messaging", messaging_body);
  p.option("quick", "0", "1: tiny counts")
      .option(bind_option, "0", "1: each rank to a core of its own")
      .output("output", "the figures");
  return p;
}

void measure_real_ranks(const settings& how, const std::vector<std::string>& paths, comparison& out) {
  check_mpi_programs("messaging", how.against);
  plan::take_share();
  std::vector<real_run> runs;
  for (const std::string& path : paths) {
    if (path == "process") {
      runs.push_back({"p2pdvm", path, 2});
      continue;
    }
    for (const int ranks : {2, 8}) {
      if (how.quick && ranks != 2) continue;
      runs.push_back({"p2pdvm", path, ranks});
      for (const std::string& system : how.against) {
        // Eight ranks of MPICH over TCP spin without giving way: on two cores they take minutes.
        if (system != "mpich" || path != "tcp" || ranks == 2) runs.push_back({system, path, ranks});
      }
    }
    if (path == "tcp") runs.push_back({"cipher", path, 2});
  }
  const int rounds = how.rounds > 0 ? how.rounds : how.quick ? 1 : 5;
  std::vector<bool> broken(runs.size());
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < runs.size(); ++i) {
      if (broken[i]) continue;
      try {
        for (const std::string& line : lines_from(how, runs[i])) add_figure(runs[i], line, out);
      } catch (const std::exception& e) {
        // One that cannot be measured does not take the others with it.
        if (runs[i].system == "p2pdvm") throw;
        broken[i] = true;
        fmt::print(stderr, "p2pdvm-bench: messaging: {}; it is left out\n", e.what());
      }
    }
  }
}

}  // namespace p2pdvm::bench
