/// The suites of p2pdvm-bench.
#pragma once

#include "measurement.hpp"

#include <p2pdvm/peal/program.hpp>

#include <string>
#include <vector>

namespace p2pdvm::bench {

struct settings {
  std::string latency_matrix;  ///< a file; empty: the built-in profiles only
  bool matrix_in_seconds = false;
  /// Counts so small that the figures mean nothing: shows that everything works.
  bool quick = false;
  /// checkpoint, overlay, messaging, pool: one of its parts alone; empty: all.
  std::string part;
  /// messaging: the MPI libraries to measure in the same run, openmpi and mpich.
  std::vector<std::string> against;
  /// messaging: how often everything is measured on real processes; 0: as the suite thinks fit.
  int rounds = 0;
  /// messaging: how many draws of places are simulated; 0: as the suite thinks fit.
  int draws = 0;
  /// messaging: a table for documents.
  bool markdown = false;
  /// messaging: measures nothing, prints the table of what `--json` printed into these files.
  std::vector<std::string> from;
};

/// Each throws `std::runtime_error` with a sentence when something could not be measured.
void run_messaging(const settings& how, report& out);
void run_checkpoint(const settings& how, report& out);
void run_store(const settings& how, report& out);
void run_simulator(const settings& how, report& out);
/// simulated_time and delayed_time of the same job of four peers, and conformance_ratio: the second over the first.
void run_conformance(const settings& how, report& out);
void run_overlay(const settings& how, report& out);
/// task_rate: empty tasks per second; efficiency: the lengths of all tasks over the time of all ranks; occupancy: the same of
/// the times that the tasks took, which are longer where something else runs on the machine.
void run_pool(const settings& how, report& out);
/// superstep_time by words of 8 bytes that each rank puts; l and g: what a superstep takes without words, and a word, fitted to these.
void run_bsp(const settings& how, report& out);

/// What peer processes that a suite starts run.
[[nodiscard]] peal::program messaging_program();
[[nodiscard]] peal::program replacement_program();
[[nodiscard]] peal::program conformance_program();
[[nodiscard]] peal::program pool_program();
[[nodiscard]] peal::program bsp_program();

}  // namespace p2pdvm::bench
