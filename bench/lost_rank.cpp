#include "lost_rank.hpp"

#include "runs.hpp"
#include "suites.hpp"

#include <p2pdvm/peal/mpi.hpp>
#include <p2pdvm/peal/rank.hpp>
#include <p2pdvm/sim/large_pages.hpp>

#include <signal.h>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>

namespace p2pdvm::bench {

/// A byte in each of the first chunks; how many bytes these have.
std::size_t make_dirty(std::vector<std::byte>& region, double fraction) {
  constexpr std::size_t chunk = 64 << 10;
  const double end = static_cast<double>(region.size()) * fraction;
  std::size_t at = 0;
  for (; static_cast<double>(at) < end; at += chunk)
    region[at] = static_cast<std::byte>(std::to_integer<unsigned>(region[at]) + 1);
  return std::min(at, region.size());
}

namespace {

/// So that the figure is not that of the system's page tables: to touch 16 MiB of small pages for the first time takes 33 ms under some
/// hypervisors, and a program that is restored begins with just that.
void lay_out_memory(std::size_t region_bytes) {
  static std::once_flag once;
  std::call_once(once, [region_bytes] {
    constexpr std::size_t regions = 6;  // of two ranks at once, their snapshots, and some to spare
    sim::use_large_pages(regions * region_bytes);
#if defined(__GLIBC__)
    ::mallopt(M_MMAP_MAX, 0);
#endif
  });
}

/// Goes on until it was restored once, then ends soon.
task<> replacement_body(peal::rank& rank) {
  mpi::communicator world(rank);
  lay_out_memory(static_cast<std::size_t>(rank.option<int>("bytes")));
  std::vector<std::byte> region(static_cast<std::size_t>(rank.option<int>("bytes")));
  std::uint64_t step = 0;
  rank.region("region", region);
  rank.state("step", step);
  const bool again = co_await rank.restore();
  if (!again) {
    for (std::size_t i = 0; i < region.size(); ++i) region[i] = static_cast<std::byte>(rank.random()());
  }
  const std::uint64_t end = again ? step + 20 : std::uint64_t{1} << 40;
  while (step < end) {
    make_dirty(region, 0.02);
    co_await rank.sleep(std::chrono::milliseconds(5));
    ++step;
    co_await rank.safe_point();
  }
}

std::vector<nlohmann::json> events_of(const std::string& trace) {
  std::vector<nlohmann::json> all;
  for (const std::string& line : lines_of(trace)) {
    auto e = nlohmann::json::parse(line, nullptr, false);
    if (!e.is_discarded()) all.push_back(std::move(e));  // the last line may not be whole yet
  }
  return all;
}

}  // namespace

/// Ranks with one region each, which compute on until they were restored once.
peal::program replacement_program() {
  peal::program p("p2pdvm-bench-replacement", replacement_body);
  p.option("bytes", "65536", "of each rank's region");
  return p;
}

lost_rank lose_a_rank(const lost_rank_setup& setup) {
  const peal::program program = replacement_program();
  const temporary_folder folder;
  const std::string trace = folder.path() + "/trace";
  process peers(program.name(),
                {"--ranks", std::to_string(setup.ranks), "--local", std::to_string(setup.peers), "--replicas",
                 std::to_string(setup.replicas), "--data", folder.path() + "/data", "--checkpoint-every", "0.5", "--trace", trace, "--",
                 "--bytes", std::to_string(setup.bytes)});
  std::map<int, int> pids;
  int victim = -1;
  double killed_at = 0;
  const auto line = [&](std::string_view text) {
    int peer = 0, pid = 0;
    if (std::sscanf(std::string(text).c_str(), "peer %d pid %d", &peer, &pid) == 2) pids[peer] = pid;
  };
  const auto tick = [&] {
    if (killed_at > 0) return;
    std::uint64_t newest = 0;
    for (const auto& e : events_of(trace)) {
      if (e.value("event", "") == "committed") newest = e.value("epoch", 0u);
      // The last rank's: the first peer would be no different, but prints.
      if (e.value("event", "") == "rank_started" && e.value("rank", 0u) == setup.ranks - 1) victim = e.value("peer", -1);
    }
    if (newest < 2 || !pids.contains(victim)) return;
    killed_at = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
    ::kill(pids[victim], SIGKILL);
  };
  const auto status = peers.wait(std::chrono::seconds(60), line, tick);
  if (!status || *status != 0) {
    throw std::runtime_error(std::to_string(setup.peers) + " peers, one of them killed, did not end well" +
                             std::string(status ? "" : " within 60 s"));
  }
  lost_rank found;
  double lost = 0;
  std::map<int, double> recovering;
  for (const auto& e : events_of(trace)) {
    const double at = e.at("time");
    const std::string what = e.at("event");
    if (at <= killed_at) continue;
    if (what == "lost" && lost == 0) lost = at;
    if (lost == 0) continue;
    if (what == "recovering") recovering.try_emplace(e.at("peer"), at);
    if (what == "fetched" && found.fetched == 0) {
      found.fetched = e.at("count");
      found.fetching = at - recovering.at(e.at("peer"));
    }
    if (what == "recovered" && found.replacement == 0) found.replacement = at - lost;
  }
  if (found.replacement == 0 || found.fetched == 0) throw std::runtime_error("a peer was killed and nobody told of the recovery");
  found.detection = lost - killed_at;
  return found;
}

}  // namespace p2pdvm::bench
