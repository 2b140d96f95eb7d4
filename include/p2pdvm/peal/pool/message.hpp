/// What ranks tell each other of a bag.
#pragma once

#include <p2pdvm/base/bytes.hpp>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace p2pdvm::pool::detail {

/// Tasks of one bag.
inline constexpr std::uint32_t tasks_max = 1u << 24;
/// Of the result of one task.
inline constexpr std::size_t result_bytes_max = std::size_t{64} << 20;
/// Of a message of results; one that is larger goes alone.
inline constexpr std::size_t message_bytes_max = std::size_t{1} << 20;
/// Tasks that one message hands over or claims.
inline constexpr std::size_t ids_per_message_max = 4096;

struct message {
  enum class kind : std::uint8_t {
    begin,    ///< the sender runs this bag, and will say nothing more of the ones before it
    results,  ///< of `ids`
    ask,      ///< for tasks
    give,     ///< `ids`, the answer; none: there are none to spare
    claim,    ///< the sender does `ids`, whoever has them
    left,     ///< the sender's program has dropped its bag after this many
  };
  kind what = kind::begin;
  std::uint64_t bag = 0;  ///< counted from 1
  std::uint32_t spare = 0;  ///< tasks that the sender could give
  std::uint64_t typical = 0, longest = 0;  ///< times of the sender's tasks [ns], 0: none was measured
  // begin
  std::uint32_t tasks = 0;
  std::uint64_t digest = 0;
  std::uint16_t file = 0;  ///< peal::rank::file_number
  std::uint32_t line = 0;
  // results, give, claim
  std::vector<std::uint32_t> ids;
  std::vector<std::uint32_t> sizes;  ///< of each result in `data`
  payload data;

  template <class F>
  void fields(F&& f) {
    f(what), f(bag), f(spare), f(typical), f(longest), f(tasks), f(digest), f(file), f(line), f(ids), f(sizes), f(data);
  }
};

}  // namespace p2pdvm::pool::detail
