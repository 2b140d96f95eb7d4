/// What the system's own TCP carries between threads of this process, in clear, from memory that stays in caches.
#pragma once

#include <cstddef>

namespace p2pdvm::bench {

/// Seconds until a thread has read `bytes`, 512 KiB at a time, that so many others write to it over a connection each, 64 KiB at a time. Whoever
/// sends data between processes needs at least that, whatever else it does.
[[nodiscard]] double seconds_over_loopback(std::size_t bytes, std::size_t senders);

}  // namespace p2pdvm::bench
