/// The parts of a suite, one after another or one alone.
#pragma once

#include "measurement.hpp"
#include "suites.hpp"

#include <initializer_list>
#include <stdexcept>
#include <string>

namespace p2pdvm::bench {

struct part {
  const char* name;
  void (*measure)(const settings&, report&);
};

/// Throws `std::runtime_error` when `how` asks for a part that there is not.
inline void measure_parts(const settings& how, report& out, std::initializer_list<part> parts) {
  std::string names;
  bool found = false;
  for (const part& p : parts) {
    names += std::string(names.empty() ? "" : ", ") + p.name;
    if (!how.part.empty() && how.part != p.name) continue;
    found = true;
    p.measure(how, out);
  }
  if (!found) throw std::runtime_error("there is no part '" + how.part + "'; there are " + names);
}

}  // namespace p2pdvm::bench
