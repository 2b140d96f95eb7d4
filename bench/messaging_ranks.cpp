/// Real ranks of p2pdvm and of MPI libraries that do the same, taking turns.
#include "messaging.hpp"
#include "messaging_plan.hpp"
#include "runs.hpp"

#include <p2pdvm/crypto/crypto.hpp>
#include <p2pdvm/link/record.hpp>
#include <p2pdvm/peal/mpi.hpp>
#include <p2pdvm/peal/rank.hpp>

#include <sched.h>
#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <optional>
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

/// The thread that runs the rank, as MPI launchers bind theirs.
void bind_to_core(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<unsigned>(core), &set);
  ::sched_setaffinity(0, sizeof set, &set);
}

task<> messaging_body(peal::rank& rank) {
  plan_ranks ranks(rank);
  if (rank.option<int>("bind") != 0) bind_to_core(rank.id());
  co_await rank.restore();
  co_await ranks.everything();
  if (rank.id() == 0) rank.result("output", ranks.lines());
}

constexpr std::chrono::seconds run_time_max(120);

struct real_run {
  std::string system;
  std::string path;
  int ranks;
};

/// Whether each rank is bound to a core of its own. Else a system that does something else too may
/// leave two ranks that spin on one core for seconds, where each waits for the end of the other's
/// time slice.
[[nodiscard]] bool bound(const real_run& run) {
  return static_cast<unsigned>(run.ranks) <= std::thread::hardware_concurrency();
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

std::vector<std::string> run_in_this_process(const settings& how, int ranks) {
  const peal::program program = messaging_program();
  embedded_run::options alone;
  alone.ranks = static_cast<std::uint32_t>(ranks);
  alone.program_options = {{"quick", how.quick ? "1" : "0"}, {"bind", "0"}};
  alone.checkpoint_interval = duration::zero();
  const runtime::job_results results = embedded_run(program, alone).run();
  std::vector<std::string> lines;
  std::istringstream in{std::string(as_text(results.at("output")))};
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

std::runtime_error failed(const real_run& run, const std::optional<int>& status) {
  const std::string how = status ? fmt::format("ended with status {}", *status)
                                 : fmt::format("did not end within {} s", run_time_max.count());
  return std::runtime_error(fmt::format("{} processes of {} over {} {}", run.ranks, run.system, run.path, how));
}

std::vector<std::string> run_peers(const settings& how, const real_run& run) {
  const temporary_folder folder;
  const std::string output = folder.path() + "/output";
  std::vector<std::string> words = {"--ranks", std::to_string(run.ranks), "--local", std::to_string(run.ranks),
                                    "--data", folder.path() + "/data", "--quiet", "--json",
                                    "--checkpoint-every", "off", "--shared-memory",
                                    run.path == "shm" ? "on" : "off"};
  words.insert(words.end(), {"--", "--quick", how.quick ? "1" : "0", "--bind", bound(run) ? "1" : "0",
                             "--output", output});
  process peers(messaging_program().name(), words);
  const auto status = peers.wait(run_time_max, nullptr, nullptr);
  if (!status || *status != 0) throw failed(run, status);
  return lines_of(output);
}

[[nodiscard]] std::string beside_this_program(const std::string& name) {
  return (std::filesystem::read_symlink("/proc/self/exe").parent_path() / name).string();
}

[[nodiscard]] std::string mpi_program(const std::string& system) {
  return beside_this_program("p2pdvm-bench-" + system);
}

std::vector<std::string> mpi_words(const real_run& run) {
  std::vector<std::string> words;
  if (run.system == "openmpi") {
    words = {"mpiexec.openmpi", "--bind-to", bound(run) ? "core" : "none"};
    if (::geteuid() == 0) words.emplace_back("--allow-run-as-root");
    if (!bound(run)) words.emplace_back("--oversubscribe");
    if (run.path == "tcp")
      for (const char* word : {"--mca", "pml", "ob1", "--mca", "btl", "self,tcp", "--mca", "btl_tcp_if_include", "lo"})
        words.emplace_back(word);
  } else {
    // Debian's MPICH is built on UCX, which has a transport over TCP; MPICH's own shared memory and
    // UCX's must be out of the way.
    if (run.path == "tcp") words = {"env", "MPIR_CVAR_NOLOCAL=1", "UCX_TLS=tcp,self", "UCX_NET_DEVICES=lo"};
    words.emplace_back("mpiexec.mpich");
    if (bound(run)) words.insert(words.end(), {"-bind-to", "core"});
  }
  for (const std::string& word : {std::string("-n"), std::to_string(run.ranks), mpi_program(run.system)})
    words.push_back(word);
  return words;
}

std::vector<std::string> run_mpi(const settings& how, const real_run& run) {
  std::vector<std::string> words = mpi_words(run);
  if (how.quick) words.emplace_back("--quick");
  std::vector<std::string> lines;
  process ranks(words);
  const auto status = ranks.wait(run_time_max, [&](std::string_view line) { lines.emplace_back(line); }, nullptr);
  if (!status || *status != 0)
    throw failed(run, status);
  return lines;
}

void check_mpi_programs(const settings& how) {
  for (const std::string& system : how.against) {
    if (::access(mpi_program(system).c_str(), X_OK) != 0)
      throw std::runtime_error(fmt::format("{} is not there: scripts/bench messaging --against {} installs {} "
                                           "and builds it",
                                           mpi_program(system), system, system));
  }
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
  if (run.system != "p2pdvm") return run_mpi(how, run);
  if (run.path == "process") return run_in_this_process(how, run.ranks);
  return run_peers(how, run);
}

}  // namespace

peal::program messaging_program() {
  peal::program p("p2pdvm-bench-messaging", messaging_body);
  p.option("quick", "0", "1: tiny counts")
      .option("bind", "0", "1: each rank to a core of its own")
      .output("output", "the figures");
  return p;
}

void measure_real_ranks(const settings& how, const std::vector<std::string>& paths, comparison& out) {
  check_mpi_programs(how);
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
