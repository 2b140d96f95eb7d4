/// Where in the program, and in which call, a rank waits: what the hang report tells (runtime/roll_call.hpp).
#pragma once

#include <p2pdvm/base/ids.hpp>

#include <cstdint>
#include <optional>
#include <source_location>
#include <span>
#include <string_view>

namespace p2pdvm::peal {

/// The last part of a path.
[[nodiscard]] constexpr std::string_view file_part(std::string_view path) noexcept {
  const auto slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

/// By what messages name a source file; never 0.
[[nodiscard]] constexpr std::uint16_t file_number_of(std::string_view path) noexcept {
  std::uint32_t hash = 2166136261u;  // FNV-1a
  for (const char c : file_part(path)) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  const auto folded = static_cast<std::uint16_t>(hash ^ hash >> 16);
  return folded != 0 ? folded : 1;
}

/// What an adapter says of a call of its own, in whose frame it lives.
struct call_note {
  const char* what = "receive";  ///< static: "barrier", "sync of superstep"
  std::int64_t number = -1;      ///< of a collective or superstep, none when negative
  std::uint32_t group = 0;       ///< the communicator that counts them
  bool collective = false;       ///< the ranks of `members` all come to it
  std::span<const int> members = {};  ///< none: all of the job
};

/// Two pointers, so that it costs a receive nothing to have one.
struct call_site {
  call_site(std::source_location place, const call_note* what = nullptr) noexcept  // NOLINT: is one
      : where(place), note(what) {}
  std::source_location where;
  const call_note* note;
};

/// What one coroutine of a rank waits for.
struct wait_state {
  enum class kind : std::uint8_t { receive, probe, room, sleep, safe_point };
  kind why = kind::receive;
  /// Tells the waits of a rank apart.
  std::uint64_t number = 0;
  call_note note;
  std::source_location where;
  std::optional<rank_number> partner;  ///< the source, or the destination that has no room
  std::optional<std::int64_t> tag;
  std::uint64_t bytes = 0;  ///< that wait here until the destination has room
};

}  // namespace p2pdvm::peal
