/// What the messaging suite measures between real ranks, and how often: the same for p2pdvm's ranks
/// and for those of an MPI library, which share nothing but this file.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace p2pdvm::bench::plan {

/// Bytes of a message.
inline constexpr std::size_t sizes[] = {8, 64, 1 << 10, 8 << 10, 64 << 10, 512 << 10, 4 << 20};
inline constexpr std::size_t small_bytes = 8;

enum class operation { half_rtt, message_rate, bandwidth, barrier_time, allreduce_time };

[[nodiscard]] constexpr const char* name_of(operation what) noexcept {
  switch (what) {
    case operation::half_rtt: return "half_rtt";
    case operation::message_rate: return "message_rate";
    case operation::bandwidth: return "bandwidth";
    case operation::barrier_time: return "barrier_time";
    case operation::allreduce_time: return "allreduce_time";
  }
  return "";
}

/// A sample is `count` times the operation, timed as a whole by rank 0. What is reported of one run
/// is the median of its samples: short ones, so that most of them are not interrupted by whatever
/// else the machine does.
struct effort {
  int samples;
  double sample_seconds;  ///< `count` is doubled, and more, until a sample takes so long
  int count_min;
  int count_max;
};

[[nodiscard]] constexpr effort effort_of(operation what, bool quick) noexcept {
  if (quick) return {2, 1e-9, 2, 2};
  switch (what) {
    case operation::message_rate: return {15, 4e-3, 10'000, 10'000};
    case operation::bandwidth: return {11, 10e-3, 4, 1'000};
    default: return {41, 1.5e-3, 1, 20'000};
  }
}

/// Of so many trials with a count the fastest says how long a sample takes.
inline constexpr int trials = 3;
/// For rank 0: the next count to try after one that took `seconds`, or the same one when it is right.
[[nodiscard]] inline int next_count(const effort& e, int count, double seconds) noexcept {
  if (count >= e.count_max || seconds >= e.sample_seconds * 0.7) return count;
  const double factor = std::clamp(e.sample_seconds / std::max(seconds, 1e-9), 2.0, 16.0);
  return std::min(e.count_max, static_cast<int>(count * factor));
}

/// Fewer samples where one takes long, as with more spinning ranks than cores.
[[nodiscard]] inline int samples_of(const effort& e, double seconds) noexcept {
  constexpr double seconds_max = 2;
  return std::clamp(static_cast<int>(seconds_max / std::max(seconds, 1e-9)), std::min(e.samples, 5), e.samples);
}

/// From the seconds of one sample.
[[nodiscard]] constexpr double value_of(operation what, std::size_t bytes, int count,
                                        double seconds) noexcept {
  switch (what) {
    case operation::half_rtt: return seconds / (2.0 * count);
    case operation::message_rate: return count / seconds;
    case operation::bandwidth: return static_cast<double>(bytes) * count / seconds;
    default: return seconds / count;
  }
}

struct step {
  operation what;
  std::size_t bytes;
};

/// Ways to stream, of which the better one counts: one message after another with blocking calls
/// (1), and so many at a time with non-blocking ones. All else is done in one way.
[[nodiscard]] inline std::vector<int> windows_of(const step& s) {
  if (s.what != operation::message_rate && s.what != operation::bandwidth) return {1};
  constexpr std::size_t bytes_max = std::size_t{16} << 20;
  return {1, static_cast<int>(std::clamp<std::size_t>(bytes_max / s.bytes, 2, 64))};
}
[[nodiscard]] constexpr bool more_is_better(operation what) noexcept {
  return what == operation::message_rate || what == operation::bandwidth;
}

/// All that `ranks` ranks do, in this order: collectives for any number, the rest for two.
[[nodiscard]] inline std::vector<step> steps(int ranks) {
  std::vector<step> all;
  if (ranks == 2) {
    for (const std::size_t bytes : sizes) all.push_back({operation::half_rtt, bytes});
    all.push_back({operation::message_rate, small_bytes});
    for (const std::size_t bytes : sizes) all.push_back({operation::bandwidth, bytes});
  }
  all.push_back({operation::barrier_time, 0});
  all.push_back({operation::allreduce_time, small_bytes});
  return all;
}

/// Linux shares cores between sessions first (autogroups), so that `nice` alone does not keep other work
/// out of the figures; and some launchers give their ranks a session of their own. With this variable,
/// -20 to 19, every process of the bench asks for the same share; below zero only root may.
inline constexpr const char* autogroup_variable = "P2PDVM_BENCH_AUTOGROUP";
inline void take_share() {
  const char* nice = std::getenv(autogroup_variable);
  if (nice == nullptr) return;
  if (std::FILE* file = std::fopen("/proc/self/autogroup", "w")) {
    std::fputs(nice, file);
    std::fclose(file);
  }
}

[[nodiscard]] inline double median_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

}  // namespace p2pdvm::bench::plan
