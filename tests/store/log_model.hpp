/// What a chunk log ought to hold, and random calls on both.
#pragma once

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/store/segment_log.hpp>

#include <map>
#include <set>

namespace log_model {

using namespace p2pdvm;

inline constexpr std::uint64_t chunks = 24;
inline constexpr std::uint64_t pins = 5;
inline constexpr std::uint64_t names = 4;

inline chunk_id id_of(std::uint64_t n) {
  chunk_id id;
  std::memcpy(id.mutable_bytes().data() + 1, &n, sizeof n);
  return id;
}
/// A chunk's bytes follow from its number.
inline byte_vector bytes_of_chunk(std::uint64_t n) {
  random_generator random(n);
  byte_vector bytes(40 + static_cast<std::size_t>(random.below(300)));
  for (auto& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}
inline store::pin pin_of(std::uint64_t n) {
  store::pin p;
  p.epoch = epoch_number(n);
  return p;
}
inline std::string name_of(std::uint64_t n) { return "value-" + std::to_string(n); }

struct state {
  std::set<std::uint64_t> present;
  std::map<std::uint64_t, std::set<std::uint64_t>> pinned;
  std::map<std::string, byte_vector> values;

  void drop(std::uint64_t p) {
    const auto ids = pinned[p];
    pinned.erase(p);
    for (const std::uint64_t n : ids) {
      bool still = false;
      for (const auto& [other, held] : pinned) still = still || held.contains(n);
      if (!still) present.erase(n);
    }
  }
};

/// Empty when the log holds exactly `s`; else what differs. A chunk that is in no pin may be
/// there beyond that.
inline std::string difference(store::chunk_log& log, const state& s) {
  for (std::uint64_t n = 0; n < chunks; ++n) {
    if (!log.contains(id_of(n))) {
      if (s.present.contains(n)) return "chunk " + std::to_string(n) + " is missing";
      continue;
    }
    const auto got = log.get(id_of(n));
    if (!got) return "chunk " + std::to_string(n) + ": " + got.error().message();
    if (*got != bytes_of_chunk(n)) return "chunk " + std::to_string(n) + " has wrong bytes";
  }
  std::vector<store::pin> pinned;
  for (const auto& [p, ids] : s.pinned) {
    pinned.push_back(pin_of(p));
    std::vector<chunk_id> expected;
    for (const std::uint64_t n : ids) expected.push_back(id_of(n));
    std::sort(expected.begin(), expected.end());
    if (log.pinned(pin_of(p)) != expected) return "pin " + std::to_string(p) + " differs";
  }
  if (log.pins() != pinned) return "the pins differ";
  for (std::uint64_t v = 0; v < names; ++v) {
    const auto got = log.get_value(name_of(v));
    const auto it = s.values.find(name_of(v));
    if (got.ok() != (it != s.values.end())) return name_of(v) + " is there or not, wrongly";
    if (!got && got.error().code() != errc::not_found) return name_of(v) + " is unreadable";
    if (got && *got != it->second) return name_of(v) + " has wrong bytes";
  }
  return {};
}

/// One call, not yet made.
struct call {
  enum kind { put, add, drop, value } what = put;
  std::uint64_t target = 0;
  std::vector<std::uint64_t> ids;
  byte_vector bytes;
};

inline call random_call(random_generator& random, const state& s) {
  call c;
  const std::uint64_t dice = random.below(20);
  if (dice < 10 || s.present.empty()) {
    c.target = random.below(chunks);
  } else if (dice < 14) {
    c.what = call::add;
    c.target = random.below(pins);
    for (const std::uint64_t n : s.present) {
      if (random.chance(0.4)) c.ids.push_back(n);
    }
  } else if (dice < 17) {
    c.what = call::drop;
    c.target = random.below(pins);
  } else {
    c.what = call::value;
    c.target = random.below(names);
    if (random.chance(0.7)) {
      c.bytes.resize(1 + static_cast<std::size_t>(random.below(60)));
      for (auto& b : c.bytes) b = static_cast<std::byte>(random());
    }
  }
  return c;
}

inline void make(state& s, const call& c) {
  switch (c.what) {
    case call::put: s.present.insert(c.target); break;
    case call::add: s.pinned[c.target].insert(c.ids.begin(), c.ids.end()); break;
    case call::drop: s.drop(c.target); break;
    case call::value:
      if (c.bytes.empty()) {
        s.values.erase(name_of(c.target));
      } else {
        s.values[name_of(c.target)] = c.bytes;
      }
      break;
  }
}

inline result<> make(store::chunk_log& log, const call& c) {
  std::vector<chunk_id> ids;
  for (const std::uint64_t n : c.ids) ids.push_back(id_of(n));
  switch (c.what) {
    case call::put: return log.put(id_of(c.target), bytes_of_chunk(c.target));
    case call::add: return log.add_pin(pin_of(c.target), ids);
    case call::drop: return log.drop_pin(pin_of(c.target));
    case call::value: return log.put_value(name_of(c.target), c.bytes);
  }
  return {};
}

}  // namespace log_model
