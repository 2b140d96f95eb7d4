/// Figures of several systems from one run: medians, and the ratio of ours to each of theirs.
#pragma once

#include "suites.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace p2pdvm::bench {

/// What a figure of ours should be: at most, or for a rate at least, `factor` times the best of
/// `against`; with nothing to be compared with, `factor` itself.
struct goal {
  std::string metric;
  std::string path;
  std::optional<std::size_t> bytes;     ///< none: any
  std::optional<std::size_t> processes;
  std::vector<std::string> against;
  double factor = 1;
  std::string text;                     ///< how the goal is written
};

class comparison {
 public:
  explicit comparison(std::vector<goal> goals) : goals_(std::move(goals)) {}

  /// One repetition: what has the same metric, profile and parameters belongs together. The figures
  /// of `ours` are divided by those of every other system.
  void add(const measurement& m);
  [[nodiscard]] bool empty() const noexcept { return rows_.empty(); }
  /// JSON: each median as a measurement with the number of `repetitions`, and then the ratios, whose
  /// metric ends in "_ratio" and which say what they are `against`. Else a table.
  void print(const settings& how, report& out) const;

  static constexpr std::string_view ours = "p2pdvm";

 private:
  struct column {
    std::string system;
    std::vector<double> values;
  };
  struct row {
    measurement head;  ///< without system and value
    std::vector<column> columns;
    [[nodiscard]] std::optional<double> of(std::string_view system) const;
    [[nodiscard]] std::string path() const;
  };

  [[nodiscard]] const goal* goal_of(const row& r) const;
  /// "≤ 0.7 × mpich: 1.2, missed"; empty when there is no goal, or nothing to compare with.
  [[nodiscard]] std::string verdict(const row& r) const;
  [[nodiscard]] std::vector<std::string> systems_on(std::string_view path) const;
  void print_json(report& out) const;
  void print_table(bool markdown) const;

  std::vector<goal> goals_;
  std::vector<row> rows_;
};

}  // namespace p2pdvm::bench
