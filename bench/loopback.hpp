/// What the system's own TCP carries between processes of this computer, in clear.
#pragma once

#include <cstddef>

namespace p2pdvm::bench {

/// Seconds until a thread has read `bytes`, 512 KiB at a time, that so many others write to it over a connection each, 64 KiB at a time. Whoever
/// sends data between processes needs that, whatever else it does.
[[nodiscard]] double seconds_over_loopback(std::size_t bytes, std::size_t senders);

}  // namespace p2pdvm::bench
