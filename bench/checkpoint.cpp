/// checkpoint: what a cut costs the program, how soon it is safe, and how soon a lost rank runs again.
#include "lost_rank.hpp"
#include "parts.hpp"
#include "runs.hpp"
#include "suites.hpp"

#include "../examples/applications/heat.hpp"

#include <p2pdvm/base/limits.hpp>
#include <p2pdvm/base/random.hpp>
#include <p2pdvm/peal/mpi.hpp>
#include <p2pdvm/peal/rank.hpp>
#include <p2pdvm/store/chunk.hpp>
#include <p2pdvm/store/fingerprint.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace p2pdvm::bench {

namespace {

using runtime::event_kind;

measurement made(const char* metric, const char* system, std::string_view unit, double value,
                 parameter_map parameters) {
  measurement m;
  m.benchmark = "checkpoint";
  m.system = system;
  m.profile = "native";
  m.parameters = std::move(parameters);
  m.metric = metric;
  m.unit = unit;
  m.value = value;
  return m;
}

// --- cuts on demand ---

/// Shared by the ranks of one embedded run and the watcher of its events. A program's body is a
/// plain function, which finds it in `cuts_now`.
struct cut_series {
  std::size_t bytes = 0;  ///< of each rank
  double dirty = 1;       ///< fraction of chunks that change between cuts
  bool marked = false;    ///< the program says which
  int wanted = 1;         ///< checkpoints, after one that warms up
  duration between{};     ///< checkpoints: as they come far apart in use, what is written behind one is durable before the next
  embedded_run* run = nullptr;
  std::atomic<std::uint64_t> cuts{0}, settled{0}, commits{0};
  std::vector<double> pauses, copies, commit_latencies;
  std::vector<double> sent;  ///< bytes of chunks, of each committed checkpoint
  double sending = 0;
};
cut_series* cuts_now = nullptr;

/// Wishes for checkpoints one after another and times the safe points that take them.
task<> cut_body(peal::rank& rank) {
  cut_series& series = *cuts_now;
  mpi::communicator world(rank);
  std::vector<std::byte> region(series.bytes);
  for (std::size_t i = 0; i < region.size(); ++i) region[i] = static_cast<std::byte>(rank.random()());
  // Somebody who keeps the last checkpoint and the one before cannot copy into what lies in caches from the last copy.
  std::vector<std::vector<std::byte>> targets(3, region);
  std::size_t next_target = 0;
  std::optional<peal::region_marks<std::byte>> marks;
  if (series.marked) {
    marks.emplace(rank.marked_region("region", region));
  } else {
    rank.region("region", region);
  }
  co_await rank.restore();
  const bool first = rank.id() == 0;
  std::uint64_t asked = 0;
  for (int taken = 0; taken <= series.wanted;) {
    if (asked <= series.settled) {  // nothing is outstanding
      if (series.between != duration::zero()) co_await rank.sleep(series.between);
      const std::size_t dirty = make_dirty(region, series.dirty);
      if (marks) marks->changed(0, dirty);
      asked = series.settled + 1;
      if (first) {
        const double begin = rank.now();
        std::memcpy(targets[++next_target % targets.size()].data(), region.data(), marks ? dirty : region.size());
        series.copies.push_back(rank.now() - begin);
        series.run->wish();
      }
    }
    const std::uint64_t before = series.cuts;
    const double begin = rank.now();
    co_await rank.safe_point();
    if (first && series.cuts != before) series.pauses.push_back(rank.now() - begin);
    // Lets the driver work, as waiting for messages would.
    co_await rank.sleep(std::chrono::microseconds(200));
    taken = co_await world.allreduce(static_cast<int>(series.commits), mpi::minimum());
  }
}

void run_cuts(cut_series& series, std::uint32_t ranks, runtime::receipts_from receipts) {
  const peal::program program("cuts", cut_body);
  embedded_run::options how;
  how.ranks = ranks;
  how.receipts = receipts;
  how.checkpoint_interval = duration::zero();
  embedded_run run(program, how, [&series](const runtime::event& e) {
    if (e.kind == event_kind::cut) ++series.cuts;
    if (e.kind == event_kind::abandoned) ++series.settled;
    if (e.kind == event_kind::drained) series.sending += static_cast<double>(e.count);
    if (e.kind != event_kind::committed) return;
    ++series.settled;
    ++series.commits;
    series.commit_latencies.push_back(e.seconds);
    series.sent.push_back(std::exchange(series.sending, 0));
  });
  series.run = &run;
  cuts_now = &series;
  (void)run.run();
  cuts_now = nullptr;
  for (auto* figures : {&series.pauses, &series.copies, &series.commit_latencies, &series.sent}) {
    if (figures->size() > 1) figures->erase(figures->begin());  // memory was touched first there
  }
  // The last one is taken when the ranks have returned.
  for (auto* figures : {&series.commit_latencies, &series.sent}) {
    if (figures->size() > static_cast<std::size_t>(series.wanted)) figures->resize(static_cast<std::size_t>(series.wanted));
  }
}

/// Seconds in which all cores could fingerprint, name and seal so many bytes, if they did nothing else.
double seconds_at_best(double bytes) {
  random_generator random(2);
  byte_vector chunk(limits::chunk_bytes);
  for (std::byte& b : chunk) b = static_cast<std::byte>(random());
  const store::chunk_codec codec{crypto::secret_key()};
  constexpr int chunks = 64;
  std::vector<double> times;
  std::size_t sealed = 0;
  for (int r = 0; r < 7; ++r) {
    times.push_back(time_of([&] {
      for (int n = 0; n < chunks; ++n) {
        chunk[0] = static_cast<std::byte>(n + store::fingerprint_of(chunk, 1).low);
        sealed += codec.seal(codec.id(chunk), chunk).size();
      }
    }));
  }
  if (sealed == 0) throw std::runtime_error("nothing was sealed");
  return median(times) / (chunks * static_cast<double>(chunk.size())) * bytes / std::max(1U, std::thread::hardware_concurrency());
}

void measure_cuts(const settings& how, report& out) {
  struct sizes {
    std::uint32_t ranks;
    std::size_t bytes;
    double dirty;
    bool marked = false;
    runtime::receipts_from receipts = runtime::receipts_from::disk;
  };
  constexpr auto memory = runtime::receipts_from::memory;
  const std::vector<sizes> cases =
      how.quick ? std::vector<sizes>{{1, 64 << 10, 1}, {1, 192 << 10, 0.02, true, memory}, {2, 64 << 10, 1}}
                : std::vector<sizes>{{1, 1 << 20, 1},           {1, 16 << 20, 1},    {1, 16 << 20, 0.02},
                                     {1, 16 << 20, 0.02, true}, {1, 64 << 20, 0.02}, {1, 64 << 20, 0.02, true},
                                     {64, 1 << 20, 0.02},       {64, 1 << 20, 0.02, true},
                                     {64, 1 << 20, 0.02, false, memory}, {64, 1 << 20, 0.02, true, memory},
                                     {64, 1 << 20, 1, false, memory}};
  for (const sizes& s : cases) {
    cut_series series;
    series.bytes = s.bytes;
    series.dirty = s.dirty;
    series.marked = s.marked;
    series.wanted = how.quick ? 2 : 15;
    if (s.receipts == memory && !how.quick) series.between = std::chrono::milliseconds(200);
    run_cuts(series, s.ranks, s.receipts);
    parameter_map p;
    p["path"] = "process";
    p["bytes"] = s.bytes;  // of each rank
    p["dirty"] = s.dirty;
    p["marked"] = s.marked;
    p["receipts"] = s.receipts == memory ? "memory" : "disk";
    p["ranks"] = s.ranks;
    p["processes"] = 1;
    if (s.ranks == 1) {  // with more, a rank's pause holds the others' work too
      const double pause = median(series.pauses), copy = median(series.copies);
      out.add(made("pause", "p2pdvm", seconds_unit, pause, p));
      out.add(made("pause", "memcpy", seconds_unit, copy, p));
      out.add(made("pause_ratio", "p2pdvm", fraction_unit, pause / copy, p));
    }
    out.add(made("commit_latency", "p2pdvm", seconds_unit, median(series.commit_latencies), p));
    if (s.dirty < 1 || s.ranks == 1) continue;
    const double best = seconds_at_best(static_cast<double>(s.ranks * s.bytes));
    out.add(made("commit_latency", "ciphers and hash", seconds_unit, best, p));
    out.add(made("commit_ratio", "p2pdvm", fraction_unit, best / median(series.commit_latencies), p));
  }
}

/// Bytes sent and time until the commit, of checkpoints of which 90 % is as it was, against whole ones.
void measure_incremental(const settings& how, report& out) {
  const std::size_t bytes = how.quick ? std::size_t{640} << 10 : std::size_t{64} << 20;
  cut_series whole, tenth;
  for (cut_series* series : {&whole, &tenth}) {
    series->bytes = bytes;
    series->dirty = series == &whole ? 1 : 0.1;
    series->wanted = how.quick ? 2 : 9;
    run_cuts(*series, 1, runtime::receipts_from::disk);
  }
  parameter_map p;
  p["path"] = "process";
  p["bytes"] = bytes;
  p["dirty"] = 0.1;
  p["ranks"] = 1;
  p["processes"] = 1;
  out.add(made("incremental_bytes_fraction", "p2pdvm", fraction_unit, median(tenth.sent) / median(whole.sent), p));
  out.add(made("incremental_time_fraction", "p2pdvm", fraction_unit,
               median(tenth.commit_latencies) / median(whole.commit_latencies), p));
}

// --- overhead ---

/// What one checkpoint adds to a run, as a share of the 20 s between two of them. Runs with one a second and without any take turns, as twenty times as
/// many would have to be told from the noise of a run that takes minutes.
void measure_overhead(const settings& how, report& out) {
  constexpr double interval = 20;  // [s]
  struct state {
    const char* size;   ///< cells on each side of the square
    const char* steps;  ///< for a few seconds
  };
  const std::vector<state> states = how.quick ? std::vector<state>{{"16", "20"}}
                                              : std::vector<state>{{"512", "24000"}, {"1700", "1600"}};  // 2 MiB; as LULESH's with 8 ranks of 20^3
  const duration between = std::chrono::milliseconds(how.quick ? 20 : 1000);
  for (const state& s : states) {
    peal::program program("heat", heat::body);
    program.option("size", s.size, "cells on each side").option("steps", s.steps, "to compute");
    program.input("input", "none").output("output", "unused");
    std::vector<double> with, added;
    for (int r = 0; r < (how.quick ? 1 : 5); ++r) {
      double seconds[2] = {};
      std::uint64_t commits = 0;
      for (const bool checkpoints : {false, true}) {
        embedded_run::options o;
        o.ranks = 8;
        o.checkpoint_interval = checkpoints ? between : duration::zero();
        o.program_options = {{"size", s.size}, {"steps", s.steps}};
        embedded_run run(program, o, [&](const runtime::event& e) {
          commits += checkpoints && e.kind == event_kind::committed ? 1 : 0;
        });
        (void)run.run();
        seconds[checkpoints ? 1 : 0] = run.seconds();
      }
      with.push_back(seconds[1]);
      // The last one, with the results, both have.
      added.push_back((seconds[1] - seconds[0]) / static_cast<double>(std::max<std::uint64_t>(commits, 2) - 1));
    }
    const double cells = std::stod(s.size);
    parameter_map p;
    p["path"] = "process";
    p["bytes"] = static_cast<std::uint64_t>(cells * cells * sizeof(double));
    p["ranks"] = 8;
    p["processes"] = 1;
    p["interval"] = to_seconds(between);
    out.add(made("run_time", "p2pdvm", seconds_unit, median(with), p));
    out.add(made("checkpoint_time", "p2pdvm", seconds_unit, median(added), p));
    p["interval"] = interval;
    out.add(made("checkpoint_overhead", "p2pdvm", fraction_unit, median(added) / interval, p));
  }
}

// --- a lost rank ---

void measure_replacement(const settings& how, report& out) {
  const std::size_t bytes = how.quick ? 64 << 10 : 16 << 20;
  std::vector<double> detections, restorations;
  for (int r = 0; r < (how.quick ? 1 : 5); ++r) {
    const lost_rank one = lose_a_rank({.ranks = 4, .peers = 4, .bytes = bytes});
    detections.push_back(one.detection);
    restorations.push_back(one.replacement);
  }
  parameter_map p;
  p["path"] = "tcp";
  p["bytes"] = bytes;  // of each rank
  p["ranks"] = 4;
  p["processes"] = 4;
  out.add(made("detection_time", "p2pdvm", seconds_unit, median(detections), p));
  out.add(made("rank_replacement_time", "p2pdvm", seconds_unit, median(restorations), p));
}

}  // namespace

void run_checkpoint(const settings& how, report& out) {
  measure_parts(how, out,
                {{"cuts", measure_cuts},
                 {"incremental", measure_incremental},
                 {"overhead", measure_overhead},
                 {"replacement", measure_replacement}});
}

}  // namespace p2pdvm::bench
