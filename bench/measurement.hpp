/// What a benchmark measured, and how it is shown: a table for people, JSON lines for programs.
#pragma once

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace p2pdvm::bench {

/// Units of values: SI without prefixes, and fractions (a ratio of two like things).
inline constexpr std::string_view seconds_unit = "seconds";
inline constexpr std::string_view rate_unit = "per second";
inline constexpr std::string_view byte_rate_unit = "bytes per second";
inline constexpr std::string_view fraction_unit = "fraction";
inline constexpr std::string_view count_unit = "count";

using parameter_map = nlohmann::ordered_json;

struct measurement {
  std::string benchmark;
  std::string system;   ///< p2pdvm, or what it is compared with in the same run
  std::string profile;  ///< of latency; "native" on real machines
  parameter_map parameters;
  std::string metric;
  std::string unit;
  double value = 0;
};

[[nodiscard]] inline std::string to_line(const measurement& m) {
  parameter_map j;
  j["benchmark"] = m.benchmark;
  j["system"] = m.system;
  j["profile"] = m.profile;
  j["parameters"] = m.parameters;
  j["metric"] = m.metric;
  j["unit"] = m.unit;
  j["value"] = m.value;
  return j.dump();
}

/// Throws nlohmann's exception when the line is no measurement.
[[nodiscard]] inline measurement from_line(const std::string& line) {
  const parameter_map j = parameter_map::parse(line);
  return {j.at("benchmark"), j.at("system"), j.at("profile"), j.at("parameters"),
          j.at("metric"),    j.at("unit"),   j.at("value")};
}

/// 0 of nothing.
[[nodiscard]] inline double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

/// Seconds that pass in `work`.
template <class Work>
[[nodiscard]] double time_of(Work&& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// "1.5 MB/s", "230 ns".
[[nodiscard]] inline std::string human(double value, std::string_view unit) {
  if (unit == fraction_unit) return fmt::format("{:.3f}", value);
  if (unit == count_unit) return fmt::format("{:.0f}", value);
  if (unit == "bytes") return fmt::format("{:.0f} B", value);
  struct step {
    double scale;
    const char* prefix;
  };
  static constexpr step steps[] = {{1e9, "G"}, {1e6, "M"}, {1e3, "k"}, {1, ""},
                                   {1e-3, "m"}, {1e-6, "µ"}, {1e-9, "n"}};
  const char* name = unit == seconds_unit ? "s" : unit == byte_rate_unit ? "B/s" : "/s";
  for (const step& s : steps) {
    const bool fits = std::abs(value) >= s.scale && (unit != seconds_unit || s.scale <= 1);
    if (fits) return fmt::format("{:.4g} {}{}", value / s.scale, s.prefix, name);
  }
  return fmt::format("{:.4g} {}", value, name);
}

/// Prints each measurement as soon as it is there.
class report {
 public:
  explicit report(bool json) : json_(json) {}
  [[nodiscard]] bool json() const noexcept { return json_; }

  void add(const measurement& m) {
    if (json_) {
      fmt::print("{}\n", to_line(m));
    } else {
      if (!std::exchange(begun_, true)) print_row("metric", "system", "profile", "value", "parameters");
      std::string parameters;
      for (const auto& [name, value] : m.parameters.items())
        parameters += (parameters.empty() ? "" : ", ") + name + " " +
                      (value.is_string() ? value.get<std::string>() : value.dump());
      print_row(m.metric, m.system, m.profile, human(m.value, m.unit), parameters);
    }
    std::fflush(stdout);
  }

 private:
  static void print_row(std::string_view metric, std::string_view system, std::string_view profile,
                        std::string_view value, std::string_view parameters) {
    fmt::print("{:<22} {:<18} {:<12} {:>13}  {}\n", metric, system, profile, value, parameters);
  }

  bool json_;
  bool begun_ = false;
};

}  // namespace p2pdvm::bench
